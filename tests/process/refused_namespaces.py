"""A seccomp filter that makes namespaces unavailable to a script and its descendants."""

from __future__ import annotations

REFUSE_NAMESPACES = """
def refuse_namespaces():
    import errno
    from gigaexec.sandbox.denied_calls import AnyBit, DeniedCall
    from gigaexec.sandbox.seccomp import SeccompFilter, build_program
    new_namespaces = 0x7E020000  # every CLONE_NEW* of linux/sched.h except CLONE_NEWTIME
    SeccompFilter(build_program([
        DeniedCall("unshare", errno.EPERM),
        DeniedCall("setns", errno.EPERM),
        DeniedCall("clone", errno.EPERM, (AnyBit(0, new_namespaces),)),
        DeniedCall("clone3", errno.ENOSYS),
    ])).install()
"""
"""Source to put before a script. The script must call `refuse_namespaces` before it starts a thread."""
