"""Where the fixtures that many tests share live: each file of tests/support brings its own."""

pytest_plugins = [  # one that another imports stands before it
    "tests.support.dockerd",
    "tests.support.machine",
    "tests.support.fresh",
    "tests.support.postgres",
    "tests.support.readme",
]
