"""The configuration: reading, rules, layers."""
