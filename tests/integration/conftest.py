"""What every test here has: a temporary directory that is a mount, which in-place restores do not reach beyond."""

from tests.support.holders import tmp_path

__all__ = ["tmp_path"]
