"""Commands as they stand in a guide, in a shell that has `coffer`, `weka` (a link to it) and
`vault` (OpenBao's command line, which is Vault's)."""
import os
import subprocess

import servers


class Shell:
    def __init__(self, instance, folder, **environment):
        self.folder = folder / "shell"
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        (programs / "coffer").symlink_to(instance.programs / "coffer")
        (programs / "weka").symlink_to(instance.programs / "coffer")
        (programs / "vault").symlink_to(servers.openbao_program())
        self.environment = {**instance.environment, "HOME": str(self.folder),
                            "PATH": f"{programs}:{os.environ['PATH']}", **environment}

    def fails(self, command):
        """What it printed as an error."""
        done = self._run(command)
        assert done.returncode != 0, f"{command}: {done.stdout}"
        return done.stderr

    def __call__(self, command):
        """What it printed."""
        done = self._run(command)
        assert done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, command):
        return subprocess.run(["bash", "-ec", command], env=self.environment, cwd=self.folder,
                              capture_output=True, text=True, timeout=300)
