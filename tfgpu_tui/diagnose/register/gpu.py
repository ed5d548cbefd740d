"""Family A: TensorFlow does not see the GPU, or can't use it as it should (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.parts.devices import LOADED_LINK, LOADED_PERCENT, SLOWED_CLOCK
from tfgpu_tui.diagnose.gpu_causes import DRIVER_FOR_CUDA, FIRST_WITH_PTX_OF
from tfgpu_tui.diagnose.gpu_held import FULL_LINK, LOWERED, MIN_LINK_SAMPLES, MIN_SAMPLES, MOST
from tfgpu_tui.diagnose.gpu_run import GOES_ON_S
from tfgpu_tui.diagnose.register.entry import JUDGED, Entry, Limit

_OF_A_MACHINE = (
    "it is about a machine and its packages, not about a script; the project's tests (tests/nvml) build such machines"
)
_ASK = """Look again; the last word is what tf.config.list_physical_devices("GPU") says in the script:
    | tfgpu-tui doctor"""

ENTRIES = (
    Entry(
        id="gpu.none",
        means="this machine has no NVIDIA GPU",
        seen="""One line of information, once. There are no GPU panes; the memory pane shows the host's memory.
        Everything else works as with a GPU: step times, the input pipeline, placement (with a prediction of what would
        stay on the CPU of a GPU machine), growth of memory.""",
        why="""A laptop, a CI machine, the login node of a cluster, or a virtual machine to which no GPU was given.""",
        signal="""Three places are looked at, and all of them are empty: NVIDIA devices under /dev, NVIDIA devices on
        the PCI bus, and NVML (the driver's own library, libnvidia-ml.so.1). TensorFlow lists no GPU either.""",
        steps=(
            "Nothing, where the CPU is meant.",
            """On a cluster, ask for a GPU: the login node has none.
            | sbatch --gres=gpu:1 job.sh""",
            """Compare with what the machine's owner says: `nvidia-smi` must list the GPU before TensorFlow can. In a
            container, ask outside of it: what Docker was not given (--gpus all) is not there inside.""",
        ),
        harmless="""Always: it is said so that the missing GPU panes are no riddle. Only NVIDIA's GPUs are looked for;
        of AMD's, Intel's and Apple's nothing is known here.""",
        demo="replay demo/recordings/cpu-healthy.jsonl",
    ),
    Entry(
        id="gpu.not_used",
        means="TensorFlow lists no GPU, and why is not known",
        seen="""The training runs on the CPU. GPU busy stays at 0 %, and each step takes much longer than it
        should.""",
        why="""TensorFlow looks for its GPUs once, when something first asks for a device. If the driver, one of the
        CUDA libraries or the list of visible devices is not in order at that moment, it leaves every GPU out, writes a
        line to stderr at best, and trains on the CPU without an error.

        This finding is what remains when none of the usual causes has its witness: not the environment (gpu.cpu_build,
        gpu.cuda_libs_missing, gpu.cuda_libs_not_found, gpu.driver, gpu.hidden), and not TensorFlow's own messages. A
        script that sets TF_CPP_MIN_LOG_LEVEL to 2 or 3 hides those.""",
        signal="""The machine has NVIDIA devices or NVML answers, and the list of GPUs read from within the script's own
        process, after TensorFlow made it, is empty. It is marked as not certain, for the cause is missing.""",
        steps=(
            """Run the doctor with the interpreter of the script: it also asks the CUDA driver itself.
            | tfgpu-tui doctor --python /path/to/env/bin/python""",
            """Let TensorFlow say which library it misses:
            | TF_CPP_MIN_LOG_LEVEL=0 TF_CPP_VMODULE=dso_loader=1 python train.py""",
            "Look for an import that runs before TensorFlow and sets CUDA_VISIBLE_DEVICES, or hides devices.",
        ),
        harmless="""Where the script is meant to run on the CPU. With --set visible_devices=none it is gpu.hidden, as
        information.""",
        demo_note=_OF_A_MACHINE,
    ),
    Entry(
        id="gpu.cpu_build",
        means="TensorFlow is a CPU build, beside a GPU",
        seen="""No line on stderr speaks of a GPU: a CPU build does not even look for one. The training runs on the
        CPU.""",
        why="""On Linux the package `tensorflow` is the CUDA build, with or without [and-cuda]; `tensorflow-cpu` is not.
        Three ways lead to a CPU build without anybody choosing one: a requirements file that names tensorflow-cpu; both
        packages installed over each other, where the one that was written last is left (installing tensorflow-cpu with
        tf_keras pulls `tensorflow` in, too); and conda, which picks a CPU build where it solves on a machine without a
        GPU. `pip install tensorflow-gpu`, which old answers recommend, only ends in an error today.""",
        signal="""TensorFlow's own build information says is_cuda_build: false, read from the files of the installed
        package and again in the script's process. Which packages and conda builds are installed stands in the evidence.
        A build for AMD's ROCm is not called a CPU build.""",
        steps=(
            """Replace it by the GPU build of the same version, in this environment:
            | pip uninstall -y tensorflow tensorflow-cpu
            | pip install "tensorflow[and-cuda]==2.21.0\"""",
            """With conda, ask for a CUDA build by name (CONDA_OVERRIDE_CUDA=12 where the solving machine has no GPU):
            | conda install "tensorflow=*=cuda*\"""",
            _ASK,
        ),
        harmless="""Where the CPU is meant. As a warning it says that both packages are installed and the GPU build was
        written last: that works until the next update of either.""",
        demo_note=_OF_A_MACHINE,
    ),
    Entry(
        id="gpu.hidden",
        means="the GPU is there, and hidden from the script",
        seen="""TensorFlow lists no GPU and says no error: to hide a GPU is allowed. The training runs on the CPU.""",
        why="""CUDA_VISIBLE_DEVICES is the list of GPUs that CUDA shows to a process, in this order. Empty, -1, or an
        index or UUID that does not exist hides all that follows. It may stand in the shell, in a job script, or in the
        training script (os.environ, before TensorFlow is asked for devices). The other ways:
        tf.config.set_visible_devices([], 'GPU'), a container that was started without GPUs, a job to which the
        scheduler gave none.""",
        signal="""The variable as the script's process has it when TensorFlow makes its list, beside the one with which
        the run was started: so it is known who set it. For set_visible_devices the number of physical GPUs beside none
        that is visible. For containers and SLURM: GPUs on the PCI bus, none under /dev, and the scheduler's variables.
        TensorFlow's message CUDA_ERROR_NO_DEVICE is a witness, too.""",
        steps=(
            """Take the variable away, where it comes from the shell or the job script:
            | unset CUDA_VISIBLE_DEVICES""",
            "Where the script sets it, or calls set_visible_devices, change that line.",
            """In a container, and on a cluster, ask for a GPU:
            | docker run --gpus all …
            | podman run --device nvidia.com/gpu=all …
            | singularity exec --nv …
            | sbatch --gres=gpu:1 job.sh""",
            "In Kubernetes the pod asks for it: resources: limits: nvidia.com/gpu: 1.",
            _ASK,
        ),
        harmless="""Where it is meant; with --set visible_devices=none it is information and no fault. Nothing is said
        before TensorFlow has looked, for a line of the script can still change the variable until then.""",
        knobs=("visible_devices=",),
        demo="--set visible_devices=none demo/healthy.py",
        demo_note="on a machine with a GPU; as information, for it is asked for",
    ),
    Entry(
        id="gpu.driver",
        means="the NVIDIA driver is missing, too old or mismatched",
        seen="""TensorFlow lists no GPU; nvidia-smi usually fails, too. Often after an update of the system: the new
        library is on the disk, the old kernel module still in memory.""",
        why="""The driver has two parts that must be of one version: the kernel module and the library libcuda.so.1. An
        update replaces the library at once and the module with the next boot. A container brings neither: both come
        from the host, through --gpus. And a program built for CUDA 12 needs a driver that knows CUDA 12.

        TensorFlow's line "Could not find cuda drivers on your machine" is misleading: it means that the CUDA runtime
        library (libcudart) could not be loaded, and says nothing about the driver.""",
        signal="""The module's version from /proc/driver/nvidia/version, the library's from its file name, cuInit's own
        error, NVML's status (a mismatch has a code of its own), which device files this user may open, and TensorFlow's
        messages with cuInit's error. The oldest drivers by CUDA version are those of NVIDIA's release notes.""",
        steps=(
            """If the two versions differ: reboot, or reload the module while nothing uses the GPU.
            | sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia
            | sudo modprobe nvidia""",
            "If there is no driver: install it from your distribution. If it is too old: update it.",
            """In a container without libcuda.so.1: start it with the GPU and the right capabilities.
            | docker run --gpus all \\
            |     -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …""",
            """If only this user may not open the device files:
            | sudo usermod -aG video,render $USER    # then log in again""",
            "Then: `nvidia-smi` must work before TensorFlow can.",
        ),
        harmless="""Never while a GPU is wanted. Where TensorFlow lists a GPU it is not said at all, whatever the
        versions look like.""",
        limits=tuple(
            Limit(f"CUDA {cuda} needs driver {{}} or newer", driver) for cuda, driver in DRIVER_FOR_CUDA.items()
        ),
        demo_note=_OF_A_MACHINE,
    ),
    Entry(
        id="gpu.cuda_libs_missing",
        means="CUDA libraries are not installed",
        seen="""On stderr: "Cannot dlopen some GPU libraries … Skipping registering GPU devices", or "Could not find
        cuda drivers on your machine", although nvidia-smi works. The training runs on the CPU.""",
        why="""The wheel of TensorFlow holds no CUDA libraries. `pip install tensorflow` gives the CUDA build without
        them; they come as packages of their own (nvidia-cublas-cu12, nvidia-cudnn-cu12, …) with the extra [and-cuda].
        If only one of them can't be loaded, TensorFlow leaves every GPU out, and does not say which one it was.""",
        signal="""For each library that TensorFlow loads (cudart, cublas, cublasLt, cudnn, cufft, cusolver, cusparse) it
        is looked whether the loader would find it (LD_LIBRARY_PATH, the search path inside TensorFlow's own library,
        the system's folders) or one of the installed packages has it; here neither is so. Before TensorFlow has looked
        it is a warning, after it critical. TensorFlow's message alone, without a library that is missed, is marked as
        not certain.""",
        steps=(
            """Install them, for the version of TensorFlow that is here (with 2.21.0 one of them is then not found:
            gpu.cuda_libs_not_found):
            | pip install "tensorflow[and-cuda]==2.21.0\"""",
            """Do not install a CUDA toolkit of the system for this: TensorFlow 2.21 is built for CUDA 12.5 and cuDNN 9,
            2.16 for CUDA 12.3 and cuDNN 8, and the packages are the right ones for each.""",
            _ASK,
        ),
        harmless="""Where the CPU is meant. TensorFlow's line about the cuDNN version ("Failed to determine cuDNN
        version") is harmless by itself.""",
        demo_note=_OF_A_MACHINE,
    ),
    Entry(
        id="gpu.cuda_libs_not_found",
        means="CUDA libraries lie where TensorFlow does not look",
        seen="""The same as if they were missing: "Cannot dlopen some GPU libraries" on stderr, no GPU listed; but `pip
        list` shows all nvidia-*-cu12 packages.""",
        why="""TensorFlow finds the packages by a search path inside its own library (RUNPATH). In the wheel of
        TensorFlow 2.21.0 that path leaves the folder of cusolver out, so `pip install "tensorflow[and-cuda]==2.21.0"`
        alone can't use a GPU; 2.16.2, 2.20.0 and 2.22.0rc0 have it. Other ways to the same state: packages in another
        folder than TensorFlow's (pip install --user beside a system package, a conda mix).""",
        signal="""RUNPATH is read from the library's file, and each library is looked for along it, along
        LD_LIBRARY_PATH and in the system's folders; what is missed there but lies in a package's folder is named, with
        the folder.""",
        steps=(
            """Try it at once, without an edit: the knob puts the packages' folders first.
            | tfgpu-tui --set library_path=auto train.py""",
            """For good, before Python starts (it can't be done from within the script: the loader reads it once):
            | S=$(python -c "import nvidia; print(nvidia.__path__[0])")
            | export LD_LIBRARY_PATH=$S/cusolver/lib:$LD_LIBRARY_PATH""",
            "Or take another version of TensorFlow.",
            _ASK,
        ),
        harmless="Where the CPU is meant.",
        knobs=("library_path=auto",),
        demo_note=_OF_A_MACHINE,
    ),
    Entry(
        id="gpu.arch_unsupported",
        means="TensorFlow has no machine code for this GPU",
        seen="""One of three: the first run takes long before its first step (seconds to minutes), while later ones
        start as usual; or kernels fail with CUDA_ERROR_INVALID_PTX or CUDA_ERROR_NO_BINARY_FOR_GPU; or TensorFlow
        leaves the GPU out, because it is too old or too small.""",
        why="""A wheel holds machine code for some compute capabilities, and for the newest also PTX, an intermediate
        form that the driver can compile for later GPUs (not for earlier ones). TensorFlow 2.21: 6.0, 7.0, 8.0, 8.9 and
        9.0 (each also for the later ones of its major number), and PTX of 9.0. So an RTX 50 or a B200 (12.x, 10.x)
        works only by compiling each kernel at its first use, and a GPU below 6.0 not at all; 2.16 begins at 5.0. The
        driver keeps what it compiled in ~/.nv/ComputeCache.""",
        signal="""The GPU's compute capability (from TensorFlow, or from the CUDA driver) against the list in the
        wheel's build information; where that list is not there (2.22 leaves it out), TensorFlow's own message "not
        built with CUDA kernel binaries compatible with compute capability". PTX that the driver refuses is
        critical.""",
        steps=(
            """If it only has to be compiled: wait the first run out, and give the cache room for all of it.
            | export CUDA_CACHE_MAXSIZE=4294967296""",
            "If the driver refuses: update it. It compiles PTX only of CUDA versions that it knows.",
            """If the GPU is too old: an older TensorFlow.
            | pip install "tensorflow[and-cuda]==2.16.2"    # from 5.0 on""",
            """If TensorFlow leaves a small GPU out by the number of its multiprocessors:
            | export TF_MIN_GPU_MULTIPROCESSOR_COUNT=1""",
        ),
        harmless="""As information, where the first run compiles and the second does not. In a container that is thrown
        away each run is a first one: keep ~/.nv/ComputeCache on a volume.""",
        limits=tuple(
            Limit(f"PTX of CUDA {cuda} needs driver {{}} or newer", driver)
            for cuda, driver in FIRST_WITH_PTX_OF.items()
        ),
        demo_note=_OF_A_MACHINE,
    ),
    Entry(
        id="gpu.cudnn_mismatch",
        means="the cuDNN that is loaded is too old",
        seen="""The GPU is listed; the first convolution or LSTM fails. On stderr: "Loaded runtime CuDNN library: 9.1.0
        but source was compiled with: 9.3.0".""",
        why="""cuDNN is used by several frameworks of one environment, and only one version is installed. A package that
        pins an older one (PyTorch does) takes TensorFlow's away at its next installation; or LD_LIBRARY_PATH leads to
        an old copy of the system before the package's.""",
        signal="""Which file the loader will take, and its version, against what TensorFlow's package metadata ask for
        (2.21: nvidia-cudnn-cu12 from 9.3 on, below 10). In the run TensorFlow's own message decides; one that says
        which version it loaded ends the suspicion.""",
        steps=(
            """Install what this TensorFlow asks for, with its own extra:
            | pip install -U "tensorflow[and-cuda]==2.21.0\"""",
            "If another framework then complains, give each an environment of its own.",
            """If the old copy comes from LD_LIBRARY_PATH, take that folder out:
            | echo $LD_LIBRARY_PATH""",
        ),
        harmless="""As a warning, before cuDNN was first used: a model of dense layers alone never calls it.""",
        demo_note=_OF_A_MACHINE,
    ),
    Entry(
        id="gpu.xla_tools_missing",
        means="XLA can't find libdevice or ptxas",
        seen="""On stderr "Can't find libdevice directory" or "Couldn't get ptxas"; then an error at the first step
        (libdevice), or a compilation by the driver, which is slower (ptxas).""",
        why="""XLA needs two files of CUDA's compiler at run time; the package nvidia-cuda-nvcc-cu12 brings both, and
        [and-cuda] asks for it. It matters to people who never asked for XLA: Keras 3 has jit_compile="auto", which
        compiles the training step with XLA as soon as a GPU is visible, unless a layer can't be compiled or the model
        trains under tf.distribute. Keras 2 (TensorFlow 2.15) compiles only where it is asked to.""",
        signal="""TensorFlow's messages, for a run; for the doctor the files themselves, in the package's folder and in
        CUDA_HOME, once all CUDA libraries are there.""",
        steps=(
            """Install the package:
            | pip install "nvidia-cuda-nvcc-cu12<13"    # 2.21: from 12.5.82 on""",
            """Or name the CUDA that has them:
            | export XLA_FLAGS=--xla_gpu_cuda_data_dir=/usr/local/cuda""",
            """Or do without XLA; --set jit_compile=off tries that without an edit.
            | model.compile(…, jit_compile=False)""",
        ),
        harmless="Where nothing is compiled by XLA: an own loop whose tf.function has no jit_compile, Keras 2.",
        knobs=("jit_compile=off",),
        demo_note=_OF_A_MACHINE,
    ),
    Entry(
        id="gpu.lost",
        means="a GPU stopped answering during the run",
        seen="""The GPU's pane says what the driver said ("the GPU is lost: it fell off the bus", "has not answered for
        4 s"), and its plots end. If the training used it, the next step hangs or fails; often nothing can kill a
        process that waits in the driver.""",
        why="""A fault of the hardware or of the driver: a GPU that fell off the PCI bus (Xid 79), an uncorrectable
        error of its memory (Xid 48), overheating, a power supply that is too weak. No line of the script does that.

        A call into the driver may hang for ever. That is why it is asked from a process of its own, with a deadline:
        the monitor and the training's other numbers go on.""",
        signal="""NVML's error for this one GPU after it had answered before; whether steps still come afterwards tells
        a driver that only stopped counting from a GPU that is gone.""",
        steps=(
            """See what the driver logged; the number behind Xid names the fault.
            | sudo dmesg | grep -i xid""",
            """Bring it back, with no process on it:
            | sudo nvidia-smi --gpu-reset -i 0    # else: reboot""",
            """Meanwhile train on the others; Enter on the finding does it, by their UUIDs.
            | CUDA_VISIBLE_DEVICES=1 python train.py""",
            "If it comes again: temperature, power limit, the card's seat, then the warranty.",
        ),
        harmless="""As information, where this run does not use that GPU; as a warning, where the training goes on and
        only the numbers are missing.""",
        limits=(Limit("a training that still does steps {} later does not miss it", GOES_ON_S, units.duration),),
        knobs=("visible_devices=",),
        demo="replay demo/recordings/gpu-lost-in-mid-run.jsonl",
        demo_note="a real training, with simulated GPUs",
    ),
    Entry(
        id="gpu.throttled",
        means="a GPU at work runs far below its clock",
        seen="""Steps that take longer than on the same GPU elsewhere, or that become longer after some minutes. GPU
        busy says 100 % all the same, for it tells that a kernel runs, not how fast. The GPU pane names the reason.""",
        why="""A GPU lowers its clock by itself: near its highest temperature, at its power limit, or where its power
        supply or a sensor on the board says stop. Heat is a matter of fans, dust, a warm room, or a GPU between two
        others. A limit below the board's own was set by somebody (nvidia-smi -pl, a machine room's power budget).

        A GPU that is at the board's own limit does what it was built for: large matrix products in float32 or 16 bits
        reach it, and the clock that is left depends on them. That is told as information, without a cure.""",
        signal="""The driver's own reasons for a lower clock (nvmlDeviceGetCurrentClocksThrottleReasons), read with the
        clock, its highest value and GPU busy in each sample. Only samples count in which the GPU works, since an idle
        one lowers its clock to save power.""",
        steps=(
            """See the reasons, the temperatures and the limits as the driver has them:
            | nvidia-smi -q -i 0 -d PERFORMANCE,TEMPERATURE,POWER""",
            "Heat: fans, filters, the room, a free slot beside it; blocked air is the usual one.",
            """A limit that was lowered, and should not be:
            | sudo nvidia-smi -i 0 -pl 700        # the board's own watts""",
            "Hardware slowdown or a power brake: power cables and supply; then the machine's maker.",
            """Less work for the same result costs less power: mixed precision (precision.unused_tensor_cores).""",
        ),
        harmless="""As information: a GPU at its own power limit. Also where the limit was lowered on purpose, to save
        energy.""",
        limits=(
            JUDGED,
            Limit("and from {} samples of the GPU at work on", MIN_SAMPLES),
            Limit("it works from {} busy on", LOADED_PERCENT, units.percent),
            Limit("slowed below {} of its highest clock", SLOWED_CLOCK, units.share),
            Limit("in more than {} of these samples", MOST, units.share),
            Limit("a power limit is a lowered one below {} of the board's own", LOWERED, units.share),
        ),
        demo_note="it is about a GPU's cooling and power; tests/nvml builds such a machine",
    ),
    Entry(
        id="gpu.link_degraded",
        means="a GPU's PCIe link is slower than it could be",
        seen="""Copies to the GPU that take longer than on the same GPU elsewhere. A training whose data is small, or
        already there, shows nothing of it.""",
        why="""GPU and slot agree on a generation and a number of lanes when the machine starts, and take the best that
        works: a card that sits badly, a riser, a damaged pin or a long cable ends at x8 or x4, or at an older
        generation. On many boards two slots, or a slot and an SSD, share their lanes. The BIOS may hold the slot at an
        older generation.

        An idle GPU lowers the generation by itself to save power (not the lanes): so a link is looked at only under
        load.""",
        signal="""Generation and lanes as they are, and the most that this GPU has in common with this slot (NVML),
        every few seconds; only readings count while the GPU works or the link carries much. The traffic is NVML's
        count of bytes that the GPU received.""",
        steps=(
            """See what both ends can do (LnkCap) and what they do (LnkSta), while it trains:
            | nvidia-smi -q -i 0 | grep -A 12 "GPU Link Info"
            | sudo lspci -vv -s 0a:00.0 | grep -i lnk""",
            "Fewer lanes: seat the card anew; look at risers and cables; the board's manual says which slots share.",
            "An older generation: the slot's setting in the BIOS, then the riser.",
            "Meanwhile copy less: uint8 images that the model scales, float16, or data that stays on the GPU.",
        ),
        harmless="""As information, while the copies are far below what the link carries: nothing waits for it. Some
        boards have slots of 16 places with 8 lanes; NVML may call the wider one possible.""",
        limits=(
            JUDGED,
            Limit("and from {} readings under load on", MIN_LINK_SAMPLES),
            Limit("under load: GPU busy from {} on", LOADED_PERCENT, units.percent),
            Limit("or {} of what the link carries", LOADED_LINK, units.share),
            Limit("in more than {} of these readings", MOST, units.share),
            Limit("a warning where the copies take {} of what it carries", FULL_LINK, units.share),
        ),
        demo_note="it is about a machine's slots; tests/nvml builds such a machine",
    ),
)
