"""One file per outside thing. The only code that touches the outside."""
