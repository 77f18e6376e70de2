"""A process that has imported everything, and forks children that are killed.

It reads a line of JSON for each child: which job, its arguments, and when to kill it, after so many
operations on files or so many seconds. It answers with how the child ended. A child starts in
milliseconds, because TensorFlow is imported already; it must not have been used before the fork.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback

# In the soak the same is done many times.
SOAK = "IB_KERAS_SOAK" in os.environ
_FILES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")


class Nursery:
    """Runs jobs of ``jobs.py`` in children.

    Args:
        *needed: what they need besides NumPy and pandas: "keras", "kfp".
    """

    def __init__(self, *needed: str) -> None:
        self.kills = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__, *needed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # One thread adds up in one order: what is done again is bitwise the same.
            env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1",
                 "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip

    def run(self, job, *arguments, operations=None, seconds=None):
        """Runs a job; returns whether it was killed, its operations on files, and its seconds."""
        order = {"job": job, "arguments": [str(a) for a in arguments], "operations": operations,
                 "seconds": seconds}  # fmt: skip
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["status"] in (0, -signal.SIGKILL), answer["error"]
        killed = answer["status"] != 0
        self.kills += killed
        return killed, answer["operations"], answer["seconds"]

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def main():
    import jobs

    jobs.prepare(sys.argv[1:])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what jobs print is no answer
    for line in sys.stdin:
        answers.write(json.dumps(_child(getattr(jobs, json.loads(line)["job"]), line)) + "\n")


def _child(job, line):
    order = json.loads(line)
    begin = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _live(job, order, writing)
    os.close(writing)
    status = None
    while order["seconds"] is not None and status is None:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            status = code
        elif time.monotonic() - begin > order["seconds"]:
            os.kill(child, signal.SIGKILL)
            break
        else:
            time.sleep(0.0005)
    if status is None:
        _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        said = json.loads(pipe.read() or "{}")
    return {"status": os.waitstatus_to_exitcode(status), "operations": 0, "error": "", **said,
            "seconds": time.monotonic() - begin}  # fmt: skip


def _live(job, order, writing):
    done, folder = 0, order["arguments"][0]

    def hook(event, arguments):
        nonlocal done
        if event in _FILES and arguments and str(arguments[0]).startswith(folder):
            done += 1
            if done == order["operations"]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    said, code = {}, 0
    try:
        job(*map(pathlib.Path, order["arguments"]))
        said = {"operations": done}
    except BaseException:
        said, code = {"error": traceback.format_exc()}, 1
    os.write(writing, json.dumps(said).encode())
    os._exit(code)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    main()
