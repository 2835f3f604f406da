"""NGINX as a cluster that answers everything, quickly, and always the same."""

from __future__ import annotations

from pathlib import Path

from .processes import Processes, accepts, free_ports

ANSWER_BYTES = 1024

CONFIG = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    client_body_temp_path {folder};
    default_type application/json;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 '"{answer}"'; }}
    }}
}}
"""


def start_nginx(processes: Processes, folder: Path, name: str) -> int:
    """Returns its port when it listens."""
    (port,) = free_ports(1)
    place = folder / name
    place.mkdir()
    file = place / "nginx.conf"
    file.write_text(CONFIG.format(folder=place, port=port, answer="x" * (ANSWER_BYTES - 2)))
    processes.start(name, "nginx", "-p", place, "-e", "stderr", "-c", file)
    processes.wait_until(lambda: accepts(port), f"nginx ({name}) listens on port {port}")
    return port
