"""Metrics for Prometheus: `family` turns a status into them, `server` serves them over TCP. Off unless asked for.

The library is imported when the first listener is opened: an agent without metrics does not pay for it.
"""
