"""``python -m ebsdarchive``."""

from ebsdarchive.cli import main

if __name__ == "__main__":
    main()
