"""The function that times a program inside the worker.

Its source is appended to the source of the program, so it is self-contained: it imports what it needs, uses
no builtin that the program may have shadowed, and the annotations that Python evaluates are strings.
"""

from typing import Any


def _gigaexec_time_runs(
    function_name: "str",
    args: "list[object]",
    kwargs: "dict[str, object]",
    warmup_runs: "int",
    timed_runs: "int",
) -> "tuple[list[int], object]":
    """Call the named function of this module; return the timed runs' durations in ns and the last value."""
    import builtins
    import gc
    import importlib.machinery
    import importlib.util
    import pickle

    # cloudpickle has no types. The comment is unused when mypy has met the import in another file before.
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    module_names = builtins.globals()
    if function_name not in module_names:
        raise builtins.LookupError(f"the program defines no function {function_name!r}")
    function = module_names[function_name]
    # A fresh copy of the module `time`: this program, or an earlier one in this process, may have replaced
    # functions of the copy in sys.modules.
    builtin_importer: Any = importlib.machinery.BuiltinImporter
    clock = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("time", builtin_importer))
    builtin_importer.exec_module(clock)
    now_ns = clock.perf_counter_ns
    # Unpickled for each run, so that no run can change the arguments of a later one.
    pickled_arguments = cloudpickle.dumps((args, kwargs))
    run_times_ns = []
    value = None
    for run in builtins.range(warmup_runs + timed_runs):
        fresh_args, fresh_kwargs = pickle.loads(pickled_arguments)
        value = None  # frees the previous value outside the timed span
        gc.collect()
        started_ns = now_ns()
        value = function(*fresh_args, **fresh_kwargs)
        finished_ns = now_ns()
        if run >= warmup_runs:
            run_times_ns.append(finished_ns - started_ns)
    return run_times_ns, value
