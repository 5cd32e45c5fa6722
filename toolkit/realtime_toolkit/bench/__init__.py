"""What this project can do, measured: every figure beside its target, in one run, as one JSON object.

One file a bench; :mod:`~realtime_toolkit.bench.processes` has what they share. Stack, writer and subscribers are
processes of their own, on this machine only, bounded in count and time.
"""
