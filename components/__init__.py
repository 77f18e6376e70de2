"""Pipeline components: ``component.py`` declares, ``executor.py`` does, ``ib_keras`` computes."""
