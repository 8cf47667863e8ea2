"""`python -m lpengine`: the command line."""

from lpengine.cli import main

if __name__ == "__main__":
    main()
