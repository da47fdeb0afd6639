"""Launchers as users run them: in this process, or in one of their own."""

import contextlib
import importlib
import io
import json
import os
import pathlib
import subprocess
import sys

import pytest

import acme_metarl

# Many sets of flags in one process, each of which must end it with a sentence.
_REFUSALS = """
import importlib
import json
import sys
from absl import flags
from acme_metarl.launchers import config_flags

name = sys.argv[1]
launcher = importlib.import_module(f'acme_metarl.launchers.{name}')
flags.FLAGS([name])
for arguments in json.loads(sys.argv[2]):
  flags.FLAGS.unparse_flags()
  for flag in flags.FLAGS:
    flags.FLAGS[flag].unparse()
  try:
    if hasattr(launcher, 'main'):
      launcher.main(flags.FLAGS([name, *arguments]))
    else:
      rest, overrides = config_flags.split([name, *arguments])
      launcher.run_flags.main(name, launcher.run, flags.FLAGS(rest), overrides)
    message = 'It ran.'
  except SystemExit as error:
    message = error.code
  print(json.dumps(message))
"""


def _start(*arguments, **options):
  return subprocess.Popen(
    [sys.executable, *arguments],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'PYTHONPATH': str(pathlib.Path(acme_metarl.__file__).parents[1]),
    },
    **options,
  )


def _finish(process):
  out, err = process.communicate(timeout=300)
  assert process.returncode == 0, err
  return out, err


@pytest.fixture(scope='session')
def start_launcher():
  """Starts `python -m acme_metarl.launchers.NAME FLAGS`."""

  def start(name, *flags, **options):
    return _start('-m', f'acme_metarl.launchers.{name}', *flags, **options)

  return start


@pytest.fixture(scope='session')
def run_launcher(start_launcher):
  """Runs a launcher to its good end; returns its stdout and its stderr."""

  def run(*arguments, **options):
    return _finish(start_launcher(*arguments, **options))

  return run


@pytest.fixture(scope='session')
def run_python():
  """Runs a script, and reads the lines of JSON that it prints."""

  def run(script, *arguments):
    out, _ = _finish(_start('-c', script, *arguments))
    return [json.loads(line) for line in out.splitlines()]

  return run


@pytest.fixture(scope='session')
def refusals(run_python):
  """Returns the messages with which a launcher ends at once.

  A message, and not a number, is what makes Python write it to stderr and exit
  with code 1.
  """

  def run(name, sets_of_flags):
    split = [flags.split(' ') for flags in sets_of_flags]
    messages = run_python(_REFUSALS, name, json.dumps(split))
    assert len(messages) == len(split)
    assert all(isinstance(x, str) for x in messages), messages
    return messages

  return run


@pytest.fixture(scope='session')
def call_main():
  """Calls the main of a launcher here; returns its stdout and its stderr."""

  def call(name, *arguments):
    launcher = importlib.import_module(f'acme_metarl.launchers.{name}')
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      launcher.main(arguments)
    return out.getvalue(), err.getvalue()

  return call


@pytest.fixture(scope='session')
def refused(call_main):
  """Returns the message with which a main refuses some flags.

  A message, and not a number, is what makes Python write it to stderr and exit
  with code 1.
  """

  def refused(name, *arguments):
    with pytest.raises(SystemExit) as info:
      call_main(name, *arguments)
    message = info.value.code
    assert isinstance(message, str) and '\n' not in message
    start = f'{name}: '
    assert message.startswith(start)
    return message.removeprefix(start)

  return refused


@pytest.fixture(scope='session')
def read_events():
  """Reads TensorBoard's event files: numbers by tag and step."""

  def read(directory):
    # Frames of length, checksum, event, checksum.
    from tensorboardX.proto import event_pb2

    found = {}
    for path in directory.iterdir():
      data = path.read_bytes()
      while data:
        length = int.from_bytes(data[:8], 'little')
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        for value in event.summary.value:
          found[value.tag, event.step] = value.simple_value
        data = data[16 + length :]
    return found

  return read
