"""Kubernetes: how nodes of a cluster find each other, who founds their ring, what becomes of nodes that are deleted.

The door is `agent`. The API server is a way to find each other, never a need: an agent that has been in the mesh once
starts and works without it. `node`, `charter` and `decision` are pure; `cluster` is the only module that talks to it.
"""
