"""How clients that are not told a host's limit get on with it, by the host's own count: `python -m benchmarks.manners`.

Each hidden limit is met by a pool of ours that is told it, by one that has to find it, and by reqstorm's automatic
modes, each for the same time, from a source of URLs that does not end, against a server of its own.
"""
