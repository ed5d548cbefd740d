"""Start the agent when, and only when, TensorFlow or Keras is imported.

The supervisor puts this folder first on PYTHONPATH, so python's own `site.py` imports this file in every python process
of the run. It stays tiny: most of those processes never see TensorFlow. It takes itself off `sys.path`, and hands over
to the `sitecustomize` that it hides, if there is one, through the import system itself, so that a missing or failing
one is reported by `site.py` exactly as without us. Nothing here may print or raise.

A script may start pythons of any age: the syntax is that of 2.7, and one that is too old for the agent only hands over.
"""

import os
import sys

# Types stand in comments, and `__future__` is not imported: each module that is loaded here is paid by every process
# of the run.
if False:
    from typing import Any  # noqa: F401

_ENTRY = os.path.dirname(__file__)
_AGENT = os.path.dirname(os.path.abspath(_ENTRY))
_PACKAGE = "_tfgpu_agent"
_TRIGGERS = frozenset(("tensorflow", "keras", "tf_keras"))
_SOCKET = os.environ.get("TFGPU_TUI_SOCKET", "")
_IS_TOO_OLD = sys.version_info < (3, 9)


def _tell(line):
    # type: (str) -> None
    """One line to the supervisor, on a connection of its own: none stays open for the script to close or to inherit."""
    import _socket  # not `socket`: that one costs several milliseconds

    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(_SOCKET)
            sock.send(line.encode(), _socket.MSG_NOSIGNAL)
        finally:
            sock.close()
    except OSError:
        pass


def _say_hello():
    # type: () -> None
    """Tell the supervisor that the agent is alive, though TensorFlow may never be imported. The script's own process
    only, which is the one that was started under this number."""
    if os.environ.get("TFGPU_TUI_SCRIPT") != str(os.getpid()):
        return
    import time

    line = '{"v":1,"t":%.6f,"src":"agent","pid":%d,"type":"agent_connected","main":true,"python":"%d.%d.%d"}\n'
    _tell(line % ((time.time(), os.getpid()) + sys.version_info[:3]))  # noqa: RUF005 (2.7)


def _agent():
    # type: () -> Any
    """The agent package, loaded by its path: the tool may live in an environment that this python can't import from."""
    package = sys.modules.get(_PACKAGE)
    if package is None:
        from importlib import util

        spec = util.spec_from_file_location(
            _PACKAGE, os.path.join(_AGENT, "__init__.py"), submodule_search_locations=[_AGENT]
        )
        if spec is None or spec.loader is None:
            raise ImportError(_AGENT)
        package = util.module_from_spec(spec)
        sys.modules[_PACKAGE] = package
        spec.loader.exec_module(package)
        package.start(_SOCKET)
    return package


def _failed(error):
    # type: (BaseException) -> None
    """The agent itself does not load: say so."""
    import json
    import time

    event = {"v": 1, "t": time.time(), "src": "agent", "pid": os.getpid(), "type": "hook_off", "hook": "agent"}
    event["reason"] = "%s: %s" % (type(error).__name__, error)
    _tell(json.dumps(event) + "\n")


class _Trigger:
    """A meta-path entry that finds nothing itself: the first import of TensorFlow makes way for the agent's own."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        # type: (str, Any, Any) -> Any
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


_trigger = _Trigger()  # type: Any


def _end():
    # type: () -> None
    """The script's own code is over, its functions for `atexit` too: this one was registered before they could be."""
    try:
        package = sys.modules.get(_PACKAGE)
        if package is not None:
            package.end()
    except Exception:
        pass  # an agent that did not load has said so


def _watch_for_errors():
    # type: () -> None
    """Chain `sys.excepthook`: report the exception that ends the process, then do what would have been done."""
    previous = sys.excepthook

    def excepthook(cls, value, traceback):
        # type: (Any, Any, Any) -> None
        # After Ctrl-C, nothing may be imported: some modules evaluate text as they load, and that makes python forget
        # that it has to die of SIGINT (run_eval_code_obj in pythonrun.c).
        if _PACKAGE in sys.modules or not issubclass(cls, KeyboardInterrupt):
            try:
                traceback = _agent().report_error(cls, value, traceback)
            except Exception as error:
                _failed(error)
        previous(cls, value, traceback)

    sys.excepthook = excepthook


def _remove_bytecode():
    # type: () -> None
    """What an old python wrote as it loaded this file: 2.7 beside it, where nobody would ever remove it again."""
    for path in (globals().get("__cached__"), _ENTRY + "/sitecustomize.pyc", _ENTRY + "/sitecustomize.pyo"):
        try:
            if path and os.path.exists(path):
                os.remove(path)
                os.rmdir(os.path.dirname(path))  # where it was made for that alone
        except OSError:
            pass


sys.path[:] = [_p for _p in sys.path if _p != _ENTRY]
sys.path_importer_cache.pop(_ENTRY, None)
if _IS_TOO_OLD:
    _remove_bytecode()
elif _SOCKET:
    import atexit  # built in since Python 3

    sys.meta_path.insert(0, _trigger)
    atexit.register(_end)
    try:
        _say_hello()
    except Exception:
        pass
# The sitecustomize that this one hides. Where there is none, the ModuleNotFoundError is the one that site.py expects.
# This module is held while it runs: Python 2 empties one that nobody holds.
_self = sys.modules.pop("sitecustomize")
try:
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
finally:
    if _SOCKET and not _IS_TOO_OLD:
        _watch_for_errors()
