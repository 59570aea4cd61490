"""HOW-TO-RESTORE.txt: how to get everything back with stock tools. A test runs what it says."""

TEXT = """\
HOW TO RESTORE WITHOUT hiveden-backup
=====================================

Needed: GNU tar, zstd, coreutils and grep; for databases PostgreSQL's pg_restore and psql. Work as root.

Layout:  JOB/20261123T023000Z/   one finished backup (names that begin with a dot are unfinished: ignore them)
         JOB/archives/           the files' content, shared by the backups of the job; NAME.tar.zst.offsite there
                                 says that this archive lies elsewhere alone: see the recovery kit

1. Check what you have
     cd JOB/20261123T023000Z && sha256sum -c SHA256SUMS
   The archives' digests are in manifest.json ("archives").

2. Files (all of them, into the existing directory DIR, as paths below it)
     cd JOB/20261123T023000Z; export LC_ALL=C
     for types in '.' 'd'; do n=0; while read -r archive; do
       zstd -dc files.index.zst | grep -zaP "^$n\\t$types\\t" | cut -z -f11- > /tmp/live
       [ -s /tmp/live ] && zstd -dc "../$archive" | (cd DIR && tar -x -p --acls --xattrs --xattrs-include='*' \\
         --numeric-owner -s --no-recursion --no-wildcards --null -T /tmp/live)
       n=$((n+1)); done < files.archives; done

   The list of what is in the backup:
     zstd -dc files.index.zst | cut -z -f11- | tr '\\0' '\\n'

3. A database
     createdb -T template0 NEW
     zstd -dc database.SERVER.DB.dump.zst | pg_restore -d NEW
   Encoding, locale and owner of the original are in manifest.json ("artifacts").
   If a role is missing, restore roles and tablespaces first:
     zstd -dc globals.SERVER.sql.zst | psql -d postgres
"""
