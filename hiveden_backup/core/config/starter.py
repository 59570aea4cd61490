"""The commented configuration that `init` writes."""

import json

_TEMPLATE = """\
# hiveden-backup: see the README for every key. After a change: hiveden-backup check, hiveden-backup schedule apply

directory = {directory}

[retention]
keep_last = 7
keep_daily = 14
keep_weekly = 8
keep_monthly = 12

# A job: what belongs together and is restored together.
#
# [jobs.immich]
# schedule = "*-*-* 02:30"                 # a systemd calendar, or five cron fields
# paths = ["/srv/immich"]                  # directories and files
# volumes = ["immich_data"]                # Docker volumes, by name
# exclude = ["**/cache"]
# containers = ["immich_server"]           # stopped for a moment, so that everything fits together
#
# [[jobs.immich.postgres]]
# container = "immich_postgres"            # dumped while it runs
# databases = ["immich"]                   # all of them when left out

# Encrypted copies elsewhere, for the day on which this machine is gone. A key: age-keygen; keep it off this machine.
#
# [offsite.elsewhere]
# remote = "b2:bucket/backups"             # what `rclone config` has made, or a directory
# rclone_config = "/etc/hiveden-backup/rclone.conf"
# recipients = ["age1..."]                 # the public part of the key; a second one, on paper, is better
"""


def starter_configuration(directory: str) -> str:
    """The text for a backup directory at an absolute, printable path."""
    return _TEMPLATE.format(directory=json.dumps(directory, ensure_ascii=False))
