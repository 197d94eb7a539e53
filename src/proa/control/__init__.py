"""The witness, `proa control`: a small process in a third place that looks at all regions and changes their roles."""
