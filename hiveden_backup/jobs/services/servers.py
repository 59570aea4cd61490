"""How to reach the database servers that jobs name."""

from dataclasses import replace

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import UnreachableError
from hiveden_backup.core.postgres.values import Endpoint, ServerContainer
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.postgres import endpoint as endpoints


def endpoint_of(source: PostgresSource, server_name: str, docker: Docker | None) -> Endpoint:
    """How to reach the server of a source, called as `core.names.server_names` says."""
    if source.container is None:
        return replace(endpoints.dsn_endpoint(source), name=server_name)
    if docker is None:
        raise UnreachableError(f"The container {source.container} cannot be looked at", "Docker does not answer")
    return endpoints.container_endpoint(source, server_container(docker, docker.container(source.container)))


def server_container(docker: Docker, container: Container) -> ServerContainer:
    """A container as the PostgreSQL rooms need it."""
    return ServerContainer(
        name=container.name,
        pid=container.pid,
        environment=container.environment,
        addresses=container.addresses,
        door=lambda argv, **how: docker.exec_stream(container, argv, **how),
    )
