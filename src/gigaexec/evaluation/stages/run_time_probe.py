"""The function that times a program inside the worker.

The source of this function is appended to the source of the program. The function therefore imports all that
it needs, takes builtins from the module `builtins` because the program may have shadowed them, and quotes
the annotations of its signature, which Python would evaluate otherwise.
"""

from typing import Any


def _gigaexec_time_runs(
    function_name: "str",
    args: "list[object]",
    kwargs: "dict[str, object]",
    warmup_runs: "int",
    timed_runs: "int",
) -> "tuple[list[int], object]":
    """Call the named function repeatedly. Return the durations of the timed runs, ns, and the last value."""
    import builtins
    import gc
    import importlib.machinery
    import importlib.util
    import pickle

    # cloudpickle has no type stubs. mypy reports the missing stubs only at the first import that it checks,
    # so the ignore comment may be unused here.
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]  # see above

    module_names = builtins.globals()
    if function_name not in module_names:
        raise builtins.LookupError(f"the program defines no function {function_name!r}")
    function = module_names[function_name]
    # Use a fresh copy of the module `time`: this program, or an earlier program in this process, may have
    # replaced functions in the copy in sys.modules.
    builtin_importer: Any = importlib.machinery.BuiltinImporter
    clock = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("time", builtin_importer))
    builtin_importer.exec_module(clock)
    now_ns = clock.perf_counter_ns
    # The arguments are unpickled for each run, so that no run can change the arguments of a later run.
    pickled_arguments = cloudpickle.dumps((args, kwargs))
    run_times_ns = []
    value = None
    for run in builtins.range(warmup_runs + timed_runs):
        fresh_args, fresh_kwargs = pickle.loads(pickled_arguments)
        value = None  # free the previous value now, not during the timed run
        gc.collect()
        started_ns = now_ns()
        value = function(*fresh_args, **fresh_kwargs)
        finished_ns = now_ns()
        if run >= warmup_runs:
            run_times_ns.append(finished_ns - started_ns)
    return run_times_ns, value
