"""The command line, ``stillhouse``: a client of the HTTP contract and of nothing else.

``up`` and ``doctor`` alone are about this machine. Each command is a module of its own, which is
imported when the command is used, so that ``stillhouse --help`` imports neither httpx nor rich.

Exit status: 0 done, 1 failed, 2 the command line is wrong, 69 nothing answers, 130 interrupted.
"""
