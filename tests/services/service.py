"""What the service scripts beside this file share: finding tools, filling the cache, running one server for as long as it is wanted.

A script installs what it needs, starts its server on loopback, waits for an answer to a real request, prints `export NAME='value'`
lines and a last line `ready`, and then keeps the server until it is told to stop: SIGTERM, SIGINT, or (with `--until-eof`) the end
of its standard input. Whoever started a script with a pipe therefore cannot leave a server behind, however it ends.

Standard library only, Python 3.9 or newer.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import pathlib
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

START_LIMIT_S = 90
STOP_LIMIT_S = 20
INSTALL_LIMIT_S = 600
PR_SET_PDEATHSIG = 1


class Unavailable(Exception):
    """The service cannot be had on this machine; the text says why and what would help."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def cache_dir():
    root = os.environ.get("TOUCHLINE_CACHE") or os.path.join(os.path.expanduser("~"), ".cache", "touchline")
    path = pathlib.Path(root)
    path.mkdir(parents=True, exist_ok=True)
    return path


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def need(tool, hint):
    found = shutil.which(tool)
    if not found:
        raise Unavailable(f"{tool} is not installed; {hint}")
    return found


def install(command, what):
    """Runs an installer with its output on our standard error, within `INSTALL_LIMIT_S`."""
    say(f"installing {what}: {shlex.join(map(str, command))}")
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=INSTALL_LIMIT_S, check=True)
    except FileNotFoundError as error:
        raise Unavailable(f"cannot install {what}: {error}") from error
    except subprocess.SubprocessError as error:
        raise Unavailable(f"cannot install {what}: {error}") from error


@contextlib.contextmanager
def locked(name):
    """One process at a time fills a cache entry; the others wait and then find it filled."""
    with open(cache_dir() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def apt(*packages):
    """Installs Debian packages, as root or by a sudo that asks nothing."""
    need("apt-get", f"install {' '.join(packages)} by hand")
    prefix = []
    if os.geteuid() != 0:
        if subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode != 0 if shutil.which("sudo") else True:
            raise Unavailable(f"missing Debian packages and no right to install them; run: apt-get install {' '.join(packages)}")
        prefix = ["sudo", "-n"]
    prefix += ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
    with locked("apt"):
        install(prefix + ["update"], "the package index")
        install(prefix + ["install", "-y", "--no-install-recommends", *packages], " ".join(packages))


def jars(name, pom):
    """The class path of the artifacts that `pom` names, fetched once by Maven into the cache as `name`."""
    need("java", "install a JDK 17 or newer")
    target = cache_dir() / name
    with locked(name):
        if not target.is_dir():
            need("mvn", "install Maven")
            with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=cache_dir()) as work:
                (pathlib.Path(work) / "pom.xml").write_text(pom)
                # Maven writes into a directory of its own and the whole is renamed: a broken download leaves no half cache.
                install(
                    ["mvn", "-B", "-q", "--no-transfer-progress", "-f", f"{work}/pom.xml", "dependency:copy-dependencies",
                     "-DincludeScope=runtime", f"-DoutputDirectory={work}/lib"],
                    name,
                )
                os.rename(f"{work}/lib", target)
    return f"{target}/*"


def start(command, log, user=None):
    """Starts a server in a session of its own, so that a Ctrl-C meant for us reaches it only through us.

    `user`: an account to run as; None is ours. The kernel kills the server should this process be killed.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def die_with_parent():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    account = {"user": user, "group": user, "extra_groups": []} if user else {}
    with open(log, "ab") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, preexec_fn=die_with_parent,
            cwd="/", **account,
        )


def wait_until_ready(process, probe, log):
    """Asks `probe()` until it is true. A server that ends, or does not answer within `START_LIMIT_S`, is `Unavailable`."""
    deadline = time.monotonic() + START_LIMIT_S
    last = "no answer yet"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"the server ended with code {process.returncode} while starting\n{tail(log)}")
        try:
            if probe():
                return
            last = "not the expected answer"
        except (OSError, subprocess.SubprocessError) as error:
            last = str(error)
        time.sleep(0.05)
    raise Unavailable(f"the server did not answer within {START_LIMIT_S} s ({last})\n{tail(log)}")


def tail(log, lines=25):
    text = pathlib.Path(log).read_text(errors="replace").splitlines()
    return "\n".join(f"    | {line}" for line in text[-lines:])


def stop(process, how=signal.SIGTERM):
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def exact(sock, size):
    """Reads exactly `size` bytes."""
    parts = []
    while size:
        part = sock.recv(min(size, 65536))
        if not part:
            raise OSError("the server closed the connection")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def main(name, launch, description):
    """The life of a service script.

    `launch(data, port)` starts the server with its data in the directory `data` on `port`, waits until it answers, and returns
    `(process, stop_signal, {variable: value})`. It must be able to start again on a directory that it has used before.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", metavar="DIR", help="keep the data here and leave it in place; default: a temporary directory, removed at the end")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; default: a free one")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends, too")
    options = parser.parse_args()

    stop_read, stop_write = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.write(stop_write, b"x"))

    data = os.path.abspath(options.data) if options.data else tempfile.mkdtemp(prefix=f"touchline-{name}-")
    process, how = None, signal.SIGTERM
    try:
        os.makedirs(data, exist_ok=True)
        # A port that was free when asked can be taken before the server binds it, hence the second and third try.
        for attempt in (1, 2, 3):
            try:
                process, how, variables = launch(data, options.port or free_port())
                break
            except Unavailable as error:
                if attempt == 3 or options.port or "in use" not in str(error):
                    raise
        for key, value in variables.items():
            print(f"export {key}={shlex.quote(value)}")
        print("ready", flush=True)
        watched = [stop_read] + ([sys.stdin] if options.until_eof else [])
        while process.poll() is None:
            readable, _, _ = select.select(watched, [], [], 0.5)
            if stop_read in readable or (readable and not os.read(sys.stdin.fileno(), 4096)):
                return 0
        say(f"{name} ended by itself with code {process.returncode}")
        return 1
    except Unavailable as error:
        say(f"{name} is not available: {error}")
        return 1
    except BrokenPipeError:
        # Whoever wanted the service is gone before it was ready. Python would try to flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        stop(process, how)
        if not options.data:
            shutil.rmtree(data, ignore_errors=True)
