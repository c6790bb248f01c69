"""``vop demo``: write the demo set and run its commands."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from vopcli.cli import console, options


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create the demo set in.")],
    *,
    run: Annotated[bool, typer.Option("--run", help="Run the commands.")] = False,
    films: Annotated[
        bool, typer.Option("--films", help="Also write films of five minutes, with queries and their times.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Random seed of the videos.")] = 0,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a small set of captioned videos and print the commands to try.

    The set has 576 videos of coloured shapes that move, grow or shrink, with captions in a train and a test
    split, and a vop.yaml that names demo-tiny, a tiny CLIP model: nothing is downloaded. An interrupted run
    is resumed by the same command. With --films, 12 films of 100 clips each are added. One clip of each film
    shows a shape in a colour that no other film has; films.jsonl has its query and times.
    """
    from vopcli.datasets.demo.folder import DemoRequest, make_demo

    summary = make_demo(
        DemoRequest(folder, seed=seed, overwrite=overwrite), progress=console.progress(quiet=quiet)
    )
    commands = list(summary.commands)
    if films:
        from vopcli.datasets.demo.films import FILM_COMMANDS, plan_films, write_films

        write_films(folder, plan_films(seed=seed), console.progress(quiet=quiet), overwrite=overwrite)
        commands += FILM_COMMANDS
    document: dict[str, Any] = {**asdict(summary), "folder": str(summary.folder), "commands": commands}
    if not as_json:
        name = console.printable(str(folder))
        console.print_line(f"{name} holds {summary.num_videos} videos with {summary.num_captions} captions.")
        console.print_line("Running:" if run else "Try:")
        console.print_line(f"  cd {console.printable(shlex.quote(str(folder)))}")
    if run:
        document["run"] = [
            {"command": command, "output": _run(command, folder, quiet=quiet, as_json=as_json)}
            for command in map(_resumed(folder), commands)
        ]
    elif not as_json:
        for command in commands:
            console.print_line(f"  {command}")
    if as_json:
        console.print_json(document)


def _resumed(folder: Path) -> Callable[[str], str]:
    """Return a function that adds --resume to `vop train` if its run exists already."""
    from vopcli.datasets.demo.folder import RUN

    resume = " --resume" if (folder / RUN).exists() else ""
    return lambda command: command + resume * command.startswith("vop train ")


def _run(command: str, folder: Path, *, quiet: bool, as_json: bool) -> str:
    """Run a command in the demo folder; return its output if ``as_json``, else print it."""
    if not as_json:
        console.print_line(f"\n$ {command}")
        sys.stdout.flush()
    arguments = [sys.executable, "-m", "vopcli", *shlex.split(command)[1:]]
    done = subprocess.run(  # noqa: S603  (the commands are constants of this program)
        arguments,
        cwd=folder,
        stdout=subprocess.PIPE if as_json else None,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise typer.Exit(done.returncode)
    return done.stdout or ""
