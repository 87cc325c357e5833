"""The overlay's pure half: what the kernel should hold, and how that differs from what it holds.

Its counterpart is `weavemesh.kernel`, which observes and changes a real kernel.
"""
