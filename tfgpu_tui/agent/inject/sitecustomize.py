"""Start the agent when, and only when, TensorFlow or Keras is imported.

The supervisor puts this folder first on PYTHONPATH, so python's own `site.py` imports this file in every python process
of the run. It stays tiny: most of those processes never see TensorFlow. It takes itself off `sys.path`, and hands over
to the `sitecustomize` that it hides, if there is one, through the import system itself, so that a missing or failing
one is reported by `site.py` exactly as without us. Nothing here may print or raise.
"""

import atexit
import os
import sys

# Annotations of `Any` are quoted, and `__future__` is not imported: each module that is loaded here is paid by every
# process of the run.
if False:
    from typing import Any

_ENTRY = os.path.dirname(__file__)
_AGENT = os.path.dirname(os.path.abspath(_ENTRY))
_PACKAGE = "_tfgpu_agent"
_TRIGGERS = frozenset(("tensorflow", "keras", "tf_keras"))
# The connection on which the main process said hello; the agent takes it over.
_hello: "Any" = None


def _say_hello() -> None:
    """Tell the supervisor that the agent is alive, though TensorFlow may never be imported. Main process only."""
    global _hello
    if os.environ.get("TFGPU_TUI_PARENT") != str(os.getppid()):
        return
    import _socket  # not `socket`: that one costs several milliseconds
    import time

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.setblocking(False)
    line = '{"v":1,"t":%.6f,"src":"agent","pid":%d,"type":"agent_connected","main":true,"python":"%d.%d.%d"}\n'
    try:
        sock.connect(os.environ["TFGPU_TUI_SOCKET"])
        sock.send((line % (time.time(), os.getpid(), *sys.version_info[:3])).encode(), _socket.MSG_NOSIGNAL)
    except OSError:
        sock.close()
        return
    _hello = sock


def _forget_hello() -> None:
    """In a forked child: the connection is the parent's."""
    global _hello
    if _hello is not None:
        _hello.close()
        _hello = None


def _agent() -> "Any":
    """The agent package, loaded by its path: the tool may live in an environment that this python can't import from."""
    package = sys.modules.get(_PACKAGE)
    if package is None:
        from importlib import util

        spec = util.spec_from_file_location(
            _PACKAGE, os.path.join(_AGENT, "__init__.py"), submodule_search_locations=[_AGENT]
        )
        assert spec is not None and spec.loader is not None
        package = util.module_from_spec(spec)
        sys.modules[_PACKAGE] = package
        spec.loader.exec_module(package)
        package.start(_hello)
    return package


def _failed(error: BaseException) -> None:
    """The agent itself does not load: say so on the connection, if there is one."""
    if _hello is None:
        return
    import json
    import time

    event = {"v": 1, "t": time.time(), "src": "agent", "pid": os.getpid(), "type": "hook_off", "hook": "agent"}
    event["reason"] = "%s: %s" % (type(error).__name__, error)
    try:
        _hello.send((json.dumps(event) + "\n").encode())
    except OSError:
        pass


class _Trigger:
    """A meta-path entry that finds nothing itself: the first import of TensorFlow makes way for the agent's own."""

    @staticmethod
    def find_spec(name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if name not in _TRIGGERS or _trigger not in sys.meta_path:
            return None
        place = sys.meta_path.index(_trigger)
        try:
            finder = _agent().install()
        except Exception as error:
            sys.meta_path.remove(_trigger)
            _failed(error)
            return None
        # In place: importlib is walking this very list.
        sys.meta_path[place] = finder
        return finder.find_spec(name, path, target)


_trigger = _Trigger()


def _end() -> None:
    """The script's own code is over, its functions for `atexit` too: this one was registered before they could be."""
    package = sys.modules.get(_PACKAGE)
    if package is not None:
        package.end()


def _watch_for_errors() -> None:
    """Chain `sys.excepthook`: report the exception that ends the process, then do what would have been done."""
    previous = sys.excepthook

    def excepthook(cls: "Any", value: "Any", traceback: "Any") -> None:
        # After Ctrl-C, nothing may be imported: some modules evaluate text as they load, and that makes python forget
        # that it has to die of SIGINT (run_eval_code_obj in pythonrun.c).
        if _PACKAGE in sys.modules or not issubclass(cls, KeyboardInterrupt):
            try:
                traceback = _agent().report_error(cls, value, traceback)
            except Exception as error:
                _failed(error)
        previous(cls, value, traceback)

    sys.excepthook = excepthook


sys.path[:] = [_p for _p in sys.path if _p != _ENTRY]
sys.path_importer_cache.pop(_ENTRY, None)
if "TFGPU_TUI_SOCKET" in os.environ:
    sys.meta_path.insert(0, _trigger)
    atexit.register(_end)
    os.register_at_fork(after_in_child=_forget_hello)
    try:
        _say_hello()
    except Exception:
        _forget_hello()
# The sitecustomize that this one hides. Where there is none, the ModuleNotFoundError is the one that site.py expects.
del sys.modules["sitecustomize"]
try:
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
finally:
    if "TFGPU_TUI_SOCKET" in os.environ:
        _watch_for_errors()
