"""`python -m flows` is the command `videobert`. ``torchrun -m flows`` runs it in its first process, which the others follow."""

from flows import training_processes


def main() -> None:
    if not training_processes.is_first():
        training_processes.follow_torchrun()
    from flows.cli import main

    try:
        main()
    except SystemExit as ended:
        if not ended.code:
            training_processes.release()
        raise


if __name__ == "__main__":
    main()
