"""Merges the outputs of gpu-suite.sh into one JSON object, by part; bench by shape and stage.

    python3 scripts/gpu_merge.py FILE...
"""
import json
import sys

merged = {}
for path in sys.argv[1:]:
    with open(path) as f:
        result = json.load(f)
    name = result.pop("part")
    if name == "bench":
        for key, value in result.items():
            if isinstance(value, dict):
                merged.setdefault(name, {})[f"{value['shape']} batch {value['batch']}x{value['accum']} {key}"] = value
    else:
        merged.setdefault(name, {}).update(result)
    merged.setdefault("card", result.get("card", ""))
json.dump(merged, sys.stdout, indent=1, sort_keys=True)
print()
