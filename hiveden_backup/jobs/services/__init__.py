"""Containers and servers, as all acts on them share them."""
