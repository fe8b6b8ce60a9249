"""Reads the metrics, after all those requests, with the parser of Prometheus's own Python client."""

import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

url, key, password = sys.argv[1:]
request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}", "ROOT-PASS": password})
with urllib.request.urlopen(request, timeout=10) as answer:
    text = answer.read().decode()
families = list(text_string_to_metric_families(text))
names = [family.name for family in families]
assert len(names) == len(set(names)) == text.count("# TYPE ") == text.count("# HELP "), names
assert all(family.documentation and family.type != "unknown" for family in families), families
samples = {family.name: family.samples for family in families}
assert len(samples["moca_records"]) == 5 and sum(sample.value for sample in samples["moca_records"]) > 0
assert sum(sample.value for sample in samples["moca_refused"]) > 0
print(f"{len(families)} metrics, {sum(len(family.samples) for family in families)} samples")
