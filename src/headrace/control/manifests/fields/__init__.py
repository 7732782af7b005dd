"""The parts that manifests consist of, and how their values are written."""
