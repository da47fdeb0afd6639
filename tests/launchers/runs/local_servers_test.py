from acme_metarl.launchers.runs import local_servers


def test_adds_this_machine_to_what_the_user_spares(monkeypatch):
  monkeypatch.setenv('no_proxy', 'example.org,localhost')
  monkeypatch.setenv('no_grpc_proxy', '*')
  monkeypatch.delenv('NO_PROXY', raising=False)
  for _ in range(2):
    local_servers.spare_proxies()
    environ = local_servers.os.environ
    assert environ['no_proxy'] == 'example.org,localhost,127.0.0.1,::1'
    assert environ['no_grpc_proxy'] == '*'
    assert environ['NO_PROXY'] == 'localhost,127.0.0.1,::1'
