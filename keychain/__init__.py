"""Every secret at rest, sealed; the only place that opens one."""
