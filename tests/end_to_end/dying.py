"""dcops that a signal meets at one step: ``python dying.py SIGNAL before|after STEP WORDS...``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from dcops.cli.main import main
from dcops.operations.execute import CODE, StepCode

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run


def strike_at(number: int, moment: str, step: str) -> None:
    code = CODE[step]

    def do(run: Run) -> None:
        if moment == "before":
            os.kill(os.getpid(), number)
        code.do(run)
        if moment == "after":
            os.kill(os.getpid(), number)

    CODE[step] = StepCode(do, code.undo)


if __name__ == "__main__":
    number, moment, step, *words = sys.argv[1:]
    strike_at(int(number), moment, step)
    sys.argv[1:] = words
    main()
