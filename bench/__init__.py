"""Measurements, each against what the same machine can do at that moment.

``python -m bench`` runs all; ``python -m bench relay`` one. A figure counts as a ratio to
a bare loopback measured in the same run, interleaved, and as CPU time per message;
absolute times are only as good as the machine is idle.
"""
