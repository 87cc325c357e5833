"""The command line: words, exit statuses and the printing of sentences. It decides nothing about the mesh.

Exit statuses: 0 all is well · 1 something is not right · 2 the command was used wrongly · 3 no agent runs here.
Each command is a module that is imported only when it is asked for: `weavemesh status` must start fast.
"""

__all__: list[str] = []
