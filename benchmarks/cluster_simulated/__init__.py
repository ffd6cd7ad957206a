"""A cluster of a thousand workers on simulated time: the real coordinator's decisions, the real leases."""
