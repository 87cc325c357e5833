"""Writes the metrics of a status, and those of this process, in Prometheus' text format, by Prometheus' own library.

The only module that imports it, and imported only when metrics are asked for. What the metrics are is
`weavemesh.metrics.family`'s.
"""

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from weavemesh.metrics.family import families
from weavemesh.status import StatusReport

CONTENT_TYPE = CONTENT_TYPE_LATEST


class StatusCollector(Collector):
    """The metrics of one status."""

    def __init__(self, report: StatusReport) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        for family in families(self._report):
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            names = tuple(family.samples[0].labels) if family.samples else ()
            metric = kind(family.name, family.help, labels=names)
            for sample in family.samples:
                metric.add_metric([sample.labels[name] for name in names], float(sample.value))
            yield metric


def exposition(report: StatusReport) -> bytes:
    """What is served. For a thousand peers that is half a MiB, and takes some 60 ms of a processor."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(report))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
