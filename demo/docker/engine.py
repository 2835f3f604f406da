"""An engine to run containers with: the one that answers, or one that is started here.

Started here, it keeps to a folder of its own and ends with `stop`. It needs root, because dockerd does. Where no
registry is reached, the base images are made with debootstrap, under the names that the Dockerfiles use.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .containers import Docker, DockerError

# What a kernel or a container may lack, from nothing to all of it.
VARIANTS: tuple[tuple[str, ...], ...] = (
    (),
    ("--storage-driver=vfs",),
    ("--storage-driver=vfs", "--iptables=false", "--ip-masq=false"),
)
START_SECONDS = 60
# A path of a Unix socket has 107 bytes, and containerd puts its own below the folder.
MAX_FOLDER = 70

# What the official slim images leave out too.
LEFT_OUT = (
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
)


def clients() -> Iterator[str]:
    """Every docker in PATH: the first one may be a client without what it needs to build."""
    for folder in [*os.get_exec_path(), "/usr/bin"]:
        client = shutil.which("docker", path=folder)
        if client:
            yield client


def capable_client() -> str:
    """One that can build."""
    for client in clients():
        if can_build(Docker(client)):
            return client
    raise DockerError("no docker that can build is here; scripts/setup docker installs one")


def can_build(docker: Docker) -> bool:
    """With the plugin buildx, or old enough to need none."""
    version = docker.call("--version", fails=True).partition("version ")[2].partition(".")[0]
    return docker.call("buildx", "version", fails=True) != "" or (version.isdigit() and int(version) < 23)


@contextmanager
def engine(folder: Path) -> Iterator[Docker]:
    """The engine that answers, or one of our own, which ends with the block."""
    docker = Docker(capable_client())
    if docker.answers():
        print(f"engine: takes the one that answers {os.environ.get('DOCKER_HOST', 'here')}", flush=True)
        yield docker
        return
    own = start(folder)
    try:
        yield own
    finally:
        stop(folder)


def start(folder: Path) -> Docker:
    """Starts one in `folder`, unless it runs there already."""
    folder = folder.absolute()
    if len(os.fsencode(folder)) > MAX_FOLDER:
        raise DockerError(f"{folder} is too long a path for sockets; the most is {MAX_FOLDER} bytes")
    docker = Docker(capable_client(), f"unix://{folder}/docker.sock")
    if pid_of(folder) is not None and docker.answers():
        return docker
    if os.geteuid() != 0:
        raise DockerError("no engine answers, and starting one needs root; start Docker, or set DOCKER_HOST")
    dockerd = shutil.which("dockerd", path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin"]))
    if dockerd is None:
        raise DockerError("no engine answers, and there is no dockerd; scripts/setup docker installs it")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if others := [pid for pid in processes() if is_dockerd(pid)]:
        print(
            f"engine: another dockerd runs here (process {others[0]}); the two share docker0 and the rules of iptables",
            flush=True,
        )
    for variant in VARIANTS:
        print(f"engine: starts {' '.join([dockerd, *variant])}, all of it in {folder}", flush=True)
        if came_up(dockerd, variant, docker, folder):
            return docker
        stop(folder)
    raise DockerError(f"dockerd does not start here:\n{last_lines(folder)}")


def came_up(dockerd: str, variant: tuple[str, ...], docker: Docker, folder: Path) -> bool:
    log = folder / "dockerd.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                dockerd, "--host", str(docker.host), "--data-root", str(folder / "data"),
                "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "dockerd.pid"), *variant,
            ],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if docker.answers():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.2)
    return False


def stop(folder: Path) -> None:
    """Ends the one of this folder, with its containers. Images stay there for the next start."""
    pid = pid_of(folder.absolute())
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + START_SECONDS
    while is_dockerd(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    (folder / "dockerd.pid").unlink(missing_ok=True)
    print(f"engine: ended (process {pid})", flush=True)


def pid_of(folder: Path) -> int | None:
    """Of the dockerd that was started there, while it lives: a number is given out again."""
    try:
        pid = int((folder / "dockerd.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if is_dockerd(pid) else None


def is_dockerd(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return False
    return fields[0].endswith("(dockerd") and fields[2].split()[0] != "Z"


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def last_lines(folder: Path) -> str:
    return "\n".join((folder / "dockerd.log").read_text(errors="replace").splitlines()[-8:])


def base_image(docker: Docker, release: str) -> str:
    """`debian:RELEASE-slim`: as it is here, from a registry, or made here."""
    name = f"debian:{release}-slim"
    if docker.has_image(name):
        return name
    if docker.call("pull", "--quiet", name, fails=True):
        print(f"engine: pulled {name}", flush=True)
        return name
    debootstrap = shutil.which("debootstrap", path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin"]))
    if debootstrap is None or os.geteuid() != 0:
        raise DockerError(f"{name} cannot be pulled, and to make it takes root and debootstrap (scripts/setup docker)")
    print(f"engine: {name} cannot be pulled; makes it with debootstrap, which takes a minute", flush=True)
    with tempfile.TemporaryDirectory(prefix="spoa-base-") as temporary:
        import_base(docker, Path(temporary) / release, release, debootstrap)
    return name


def import_base(docker: Docker, root: Path, release: str, debootstrap: str) -> None:
    log = root.parent / "log"
    archives = known_archives()
    mirror = [archives["Debian"]] if "Debian" in archives else []
    with log.open("wb") as out:
        command = [debootstrap, "--variant=minbase", release, str(root), *mirror]
        made = subprocess.run(command, check=False, stdout=out, stderr=out)
    if made.returncode != 0:
        said = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise DockerError(f"debootstrap {release} failed:\n{said}")
    if "Debian-Security" in archives:
        with (root / "etc/apt/sources.list").open("a") as sources:
            sources.write(f"deb {archives['Debian-Security']} {release}-security main\n")
    for folder in LEFT_OUT:
        for file in (root / folder).glob("*"):
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink()
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        done = subprocess.run(
            [docker.client, "import", "--change", 'CMD ["bash"]', "-", f"debian:{release}-slim"],
            check=False, stdin=tar.stdout, stdout=subprocess.DEVNULL, env=docker.environment(),
        )  # fmt: skip
    if done.returncode != 0 or tar.returncode != 0:
        raise DockerError(f"the base debian:{release}-slim could not be imported")


def known_archives() -> dict[str, str]:
    """Debian's archives that this machine's apt uses, by label."""
    command = ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"]
    asked = subprocess.run(command, check=False, capture_output=True, text=True)
    return dict(line.split("|", 1) for line in asked.stdout.splitlines() if line.startswith("Debian"))
