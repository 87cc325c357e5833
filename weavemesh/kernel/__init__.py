"""Linux: the one place that speaks netlink and the WireGuard userspace interface.

Its counterpart is `weavemesh.overlay`, which says what the kernel should hold. The doors are
`applier.Kernel` (and `fake.FakeKernel`, its twin in memory), `removal.remove_everything`, and `pod` for the
interfaces of pods. Nothing is imported here: pyroute2 costs 12 MB, which the command line need not pay.
"""
