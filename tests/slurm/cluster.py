"""A private Slurm on the loopback interface: no systemd, no cgroups, no files in /etc, any user.

    python -m tests.slurm.cluster FOLDER        starts one, waits for Ctrl-C, stops it

Partitions: `main`, `high`, and `low`, whose jobs are preempted and requeued for jobs of `high`.
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
PACKAGES = "slurmctld slurmd slurm-client munge"
GRACE_S = 20
"""Seconds between SIGTERM and SIGKILL of a preemption."""
KILL_WAIT_S = 5
"""Seconds between SIGTERM and SIGKILL otherwise."""
HOLD_S = 5
"""Seconds for which Slurm holds a requeued job: the lifetime of its credentials, at least 5 (default 120)."""

CONF = """
ClusterName=tinv
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire={hold}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
RebootProgram=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# use the CPUs and memory below instead of the machine's
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
JobRequeue=1
EnforcePartLimits=ALL
KillWait={kill_wait}
MinJobAge=300
InactiveLimit=0
PropagateResourceLimits=NONE
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=DEFAULT Nodes=ALL MaxTime=60 DefaultTime=10 DefMemPerCPU=500 PreemptMode=OFF
PartitionName=main Default=YES PriorityTier=10
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=high PriorityTier=50
"""
NODE = (
    "NodeName=node{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Sockets=1 CoresPerSocket={cpus} "
    "ThreadsPerCore=1 RealMemory=8000 State=UNKNOWN"
)


def reason_unavailable() -> str | None:
    """Returns why no cluster can start here, or None."""
    missing = [name for name in PROGRAMS if not _program(name)]
    return f"{', '.join(missing)} not found; on Debian: apt-get install {PACKAGES}" if missing else None


class Cluster:
    """A cluster that runs during a `with` block and leaves no process behind."""

    def __init__(self, folder: Path, *, nodes: int = 2, cpus: int = 2):
        """Args:
        folder: for state, sockets and logs; a socket needs a short path.
        nodes: number of nodes; each is a slurmd on this machine.
        cpus: CPUs of each node.
        """
        self.folder, self.nodes, self.cpus = folder.resolve(), nodes, cpus
        self.env = {**os.environ, "SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def run_command(self, *command: str, check: bool = True) -> str:
        """Runs a command of Slurm, and returns its output."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def power_off(self, node: int) -> None:
        """Ends all processes of a node at once, without a report to Slurm."""
        daemon = self._daemons.pop(f"slurmd.{node}")
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stop all first, so that none reports the end of another
            for pid in _processes(self.folder, node):
                _signal(pid, number)
        daemon.wait()
        self.run_command("scontrol", "update", f"nodename=node{node}", "state=down", "reason=lost")

    def power_on(self, node: int) -> None:
        """Starts the node again."""
        self._slurmd(node)
        _until(
            lambda: self.run_command("sinfo", "-h", "-n", f"node{node}", "-p", "main", "-o", "%t") in ("idle", "mix")
        )

    def _start(self) -> None:
        for name in ("etc", "run", "log", "state", *(f"spool.node{i}" for i in self._numbers())):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / name).chmod(0o755)
        key = self.folder / "etc" / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        host, port, user = socket.gethostname().partition(".")[0], _free_port(self.nodes + 1), getpass.getuser()
        nodes = [NODE.format(i=i, host=host, port=port + i, cpus=self.cpus) for i in self._numbers()]
        shape = {"folder": self.folder, "host": host, "port": port, "user": user, "nodes": "\n".join(nodes)}
        text = CONF.format(**shape, hold=HOLD_S, kill_wait=KILL_WAIT_S, grace=GRACE_S)
        (self.folder / "etc" / "slurm.conf").write_text(text)
        (self.folder / "etc" / "plugstack.conf").touch()
        run = self.folder / "run"
        self._daemon(
            "munged",
            *["--foreground", "--force", f"--socket={run}/munge.sock", f"--key-file={key}"],
            *[f"--pid-file={run}/munged.pid", f"--seed-file={run}/munged.seed"],
            f"--log-file={self.folder}/log/munged.log",
        )
        _until(lambda: self._works("munge", "-n", "-S", f"{run}/munge.sock"))
        self._daemon("slurmctld", "-D", "-i")
        _until(lambda: self._works("scontrol", "ping"))
        for i in self._numbers():
            self._slurmd(i)
        idle = ("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N")
        _until(lambda: len(set(self.run_command(*idle).split())) == self.nodes)

    def _stop(self) -> None:
        if "slurmctld" in self._daemons:
            subprocess.run(["scancel", "--me", "--full"], env=self.env, capture_output=True, timeout=30, check=False)
            try:
                _until(lambda: not self.run_command("squeue", "-h", "--me", check=False), seconds=4 * KILL_WAIT_S)
            except TimeoutError:
                print("some jobs did not end", file=sys.stderr)
        left = [pid for node in self._numbers() for pid in _processes(self.folder, node)]
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        for pid in left:
            _signal(pid, signal.SIGKILL)

    def _slurmd(self, i: int) -> None:
        self._daemon("slurmd", "-D", "-N", f"node{i}", name=f"slurmd.{i}")

    def _daemon(self, program: str, *arguments: str, name: str = "") -> None:
        path = _program(program)
        assert path, f"{program} is not installed"
        with (self.folder / "log" / f"{name or program}.out").open("ab") as log:
            self._daemons[name or program] = subprocess.Popen(
                [path, *arguments],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _works(self, *command: str) -> bool:
        done = subprocess.run(command, env=self.env, capture_output=True, timeout=30, check=False)
        return done.returncode == 0

    def _numbers(self) -> range:
        return range(1, self.nodes + 1)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _free_port(count: int) -> int:
    """The first of `count` consecutive ports that seem to be free."""
    for _ in range(100):
        first = 20000 + secrets.randbelow(10000)
        if all(_is_free(first + i) for i in range(count)):
            return first
    raise OSError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("timeout; see the logs of Slurm")
        time.sleep(0.05)


def _processes(folder: Path, node: int) -> list[int]:
    """The processes of a node: its slurmd and slurmstepd, which write its log, and its jobs."""
    log, marks = f"{folder}/log/slurmd.node{node}.log", (f"SLURMD_NODENAME=node{node}\0".encode(), str(folder).encode())
    pids = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (
                log in {os.readlink(link) for link in (entry / "fd").iterdir()}
                or all(mark in (entry / "environ").read_bytes() for mark in marks)
            ):
                pids.append(int(entry.name))
    return pids


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    with Cluster(Path(sys.argv[1])) as cluster:
        print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}", flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(60)
