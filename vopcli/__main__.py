"""Run the command line with ``python -m vopcli``."""

from vopcli.cli.app import main

if __name__ == "__main__":
    main()
