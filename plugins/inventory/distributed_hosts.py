# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: distributed_hosts
author:
  - RingRift P2P contributors (@ringrift)
version_added: 1.0.0
short_description: The hosts of a RingRift cluster, from its distributed_hosts.yaml
description:
  - Reads the C(distributed_hosts.yaml) of a RingRift cluster and makes an inventory of it.
  - The whole file is checked before the first host is added. All faults are reported at once, each with its key path and line.
  - Strings of the file stay data, they are never rendered as templates.
  - The name of the configuration file must end in C(p2p.yml) or C(p2p.yaml).
options:
  plugin:
    description: The name of this plugin, V(ringrift.p2p.distributed_hosts).
    type: str
    required: true
    choices: [ringrift.p2p.distributed_hosts]
  source:
    description:
      - Path of the C(distributed_hosts.yaml).
      - A relative path given here is relative to the folder of the configuration file, one from the environment to the current folder.
    type: str
    default: distributed_hosts.yaml
    env:
      - name: P2P_DISTRIBUTED_HOSTS
  address:
    description:
      - Which address of a node Ansible connects to. Where a node has none of the wanted kind, its SSH address is taken.
      - V(ssh) is C(ssh_host) as it stands in the file, through C(ssh_proxy) where there is one.
      - V(public) is the public address of the node, V(tailscale) the one in the overlay. Both are dialled directly.
    type: str
    default: ssh
    choices: [ssh, public, tailscale]
  providers:
    description:
      - Additional patterns of host names, as a mapping of a provider to a list of glob patterns.
      - A key C(provider) and the id keys of an entry (such as C(vast_instance_id)) count more, the beginning of the name less.
    type: dict
    default: {}
extends_documentation_fragment:
  - ansible.builtin.constructed
notes:
  - >-
    Groups are C(lambda), C(vast), C(hetzner), C(nebius), C(vultr), C(runpod), C(aws), C(mac), C(local) and C(other) by provider;
    C(p2p) for every host that belongs to the cluster, C(p2p_excluded) for every other one; within the cluster C(p2p_voters), C(p2p_gpu),
    C(p2p_nat) and C(p2p_relays); and C(role_<role>).
  - >-
    Host variables are Ansible's connection variables and C(p2p_node_id), C(p2p_provider), C(p2p_role), C(p2p_status), C(p2p_port), C(p2p_public_address),
    C(p2p_tailscale_address), C(p2p_voter), C(p2p_nat_blocked), C(p2p_path), C(p2p_excluded_reason) and C(p2p_host) (the entry as it stands).
  - The group C(all) has the variable C(p2p_hosts_file), the absolute path of the file.
  - >-
    A host belongs to the cluster unless, in this order, C(p2p_enabled) is V(false); its C(status) is V(offline), V(retired), V(terminated), V(destroyed),
    V(disabled), V(proxy_only), V(pending_setup), V(setup), V(needs_setup), V(needs_tailscale_auth) or V(ssh_key_rejected); its C(role) is V(proxy);
    C(ringrift_path) is null; or it has no address that can be used.
"""

EXAMPLES = r"""
# inventory/p2p.yml: takes distributed_hosts.yaml beside it, or the file that P2P_DISTRIBUTED_HOSTS names
plugin: ringrift.p2p.distributed_hosts

---
# Connect over the overlay; nodes named gpu-* are Hetzner's; group by GPU
plugin: ringrift.p2p.distributed_hosts
source: ../config/distributed_hosts.yaml
address: tailscale
providers:
  hetzner: ["gpu-*"]
keyed_groups:
  - key: p2p_host.gpu | default('none')
    prefix: gpu
"""

import os
import shlex
import typing as t

import ansible.template
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.module_utils.common.text.converters import to_native
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils import unsafe_proxy

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _addresses, _cluster_file, _providers, _regular_file

# Before ansible-core 2.19 every string is a template unless it is marked as data; since then it is the other way round.
STRINGS_ARE_TEMPLATES = not hasattr(ansible.template, "trust_as_template")

FIXED_GROUPS = ("p2p", "p2p_excluded", "p2p_voters", "p2p_gpu", "p2p_nat", "p2p_relays")


class HostVariables(t.TypedDict):
    """What every host gets besides Ansible's connection variables."""

    p2p_node_id: str
    p2p_provider: str
    p2p_role: str | None
    p2p_status: str | None
    p2p_port: int
    p2p_public_address: str | None
    p2p_tailscale_address: str | None
    p2p_voter: bool
    p2p_nat_blocked: bool
    p2p_path: str | None
    p2p_excluded_reason: str | None
    p2p_host: dict[str, t.Any]


def host_variables(host: dict[str, t.Any]) -> HostVariables:
    """The ``p2p_*`` variables of an entry of the cluster."""
    return {
        "p2p_node_id": host["name"], "p2p_provider": host["provider"], "p2p_role": host["role"], "p2p_status": host["status"],
        "p2p_port": host["port"], "p2p_public_address": host["public_address"], "p2p_tailscale_address": host["tailscale_address"],
        "p2p_voter": host["voter"], "p2p_nat_blocked": host["nat_blocked"], "p2p_path": host["path"],
        "p2p_excluded_reason": host["excluded_reason"], "p2p_host": host["entry"],
    }


def connection_variables(hosts: dict[str, dict[str, t.Any]], name: str, address: str = "ssh") -> dict[str, t.Any]:
    """Ansible's connection variables for one node of the cluster's ``hosts``; ``address`` is the option of that name."""
    host = hosts[name]
    target = {"public": host["public_address"], "tailscale": host["tailscale_address"]}.get(address)
    written = host["ssh_host"]
    direct = target is not None and target != written
    if target is None:
        target = written or host["tailscale_address"] or host["public_address"]
        direct = written is None
    if target is None:
        return {}
    kind = _addresses.kind(target)
    if kind == _addresses.LOOPBACK and host["ssh_proxy"] is None and "ssh_port" not in host["entry"]:
        return {"ansible_host": target, "ansible_connection": "local"}
    variables: dict[str, t.Any] = {"ansible_host": target}
    if host["ssh_user"]:
        variables["ansible_user"] = host["ssh_user"]
    if direct and host["provider"] in _providers.CONTAINER_PROVIDERS:
        # The port in the file is the gateway's.
        variables["ansible_port"] = _cluster_file.DEFAULT_SSH_PORT
    elif "ssh_port" in host["entry"] or host["ssh_port"] != _cluster_file.DEFAULT_SSH_PORT or kind != _addresses.PRIVATE or not _is_alias(target):
        variables["ansible_port"] = host["ssh_port"]
    if host["ssh_key"]:
        variables["ansible_ssh_private_key_file"] = host["ssh_key"]
    if host["ssh_proxy"] is not None and not direct and host["belongs"]:
        variables["ansible_ssh_common_args"] = proxy_arguments(hosts, _cluster_file.proxy_chain(hosts, name))
    return variables


def _is_alias(target: str) -> bool:
    """A bare word may be an alias of the operator's SSH configuration, which then knows the port."""
    return "." not in target and ":" not in target


def proxy_arguments(hosts: dict[str, dict[str, t.Any]], chain: list[str]) -> str:
    """The SSH options that lead through ``chain`` (names, first hop first).

    A plain ProxyJump, unless a hop has a key of its own: ProxyJump cannot be given one, ProxyCommand can.
    """
    hops = [hosts[name] for name in chain]
    if not any(hop["ssh_key"] for hop in hops):
        return "-o " + shlex.quote("ProxyJump=" + ",".join(_jump(hop) for hop in hops))
    command = ""
    for hop in hops:
        words = ["ssh"]
        if hop["ssh_key"]:
            words += ["-i", hop["ssh_key"]]
        words += ["-p", str(hop["ssh_port"])]
        if hop["ssh_user"]:
            words += ["-l", hop["ssh_user"]]
        if command:
            # Each level expands the percent signs of the next one.
            words += ["-o", "ProxyCommand=" + command.replace("%", "%%")]
        command = shlex.join([*words, "-W", "%h:%p", hop["ssh_host"]])
    return "-o " + shlex.quote("ProxyCommand=" + command)


def _jump(hop: dict[str, t.Any]) -> str:
    user = f"{hop['ssh_user']}@" if hop["ssh_user"] else ""
    host = f"[{hop['ssh_host']}]" if ":" in hop["ssh_host"] else hop["ssh_host"]
    return f"{user}{host}:{hop['ssh_port']}"


def groups_of(host: dict[str, t.Any], relays: frozenset[str]) -> list[str]:
    """The groups of a node, the provider's first. ``relays`` are the names that other nodes name as their relays."""
    groups = [host["provider"]]
    if host["belongs"]:
        groups.append("p2p")
        if host["voter"]:
            groups.append("p2p_voters")
        if host["discrete_gpu"]:
            groups.append("p2p_gpu")
        if host["nat_blocked"]:
            groups.append("p2p_nat")
        if host["relay_capable"] or host["name"] in relays:
            groups.append("p2p_relays")
    else:
        groups.append("p2p_excluded")
    if host["role"]:
        groups.append("role_" + host["role"])
    return groups


class InventoryModule(BaseInventoryPlugin, Constructable):
    """Wires the file of the cluster to Ansible's inventory."""

    NAME = "ringrift.p2p.distributed_hosts"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("p2p.yml", "p2p.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        config = self._read_config_data(path)
        source = self._source(path, config)
        try:
            content = _regular_file.read(source)
        except OSError as exc:
            raise AnsibleParserError(
                f"The cluster's hosts file cannot be read: {source}: {exc.strerror}. Put the cluster's own distributed_hosts.yaml there "
                "(inventory/distributed_hosts.example.yaml is one to copy and fill in), or name it with `source:` in "
                f"{path} or with P2P_DISTRIBUTED_HOSTS=/path/to/distributed_hosts.yaml") from exc
        try:
            cluster = _cluster_file.parse(content, source, self.get_option("providers"))
        except (_cluster_file.ClusterFileError, ValueError) as exc:
            raise AnsibleParserError(to_native(exc)) from exc
        self._populate(cluster)

    def _source(self, path: str, config: t.Mapping[str, t.Any]) -> str:
        """The absolute path of the hosts file."""
        source = os.path.expanduser(to_native(self.get_option("source")))
        from_environment = "source" not in config and os.environ.get("P2P_DISTRIBUTED_HOSTS")
        base = os.getcwd() if from_environment else os.path.dirname(os.path.abspath(path))
        return os.path.normpath(os.path.join(base, source))

    def _populate(self, cluster: _cluster_file.ClusterFile) -> None:
        inventory = self.inventory
        address = self.get_option("address")
        constructed = [self.get_option(name) for name in ("compose", "groups", "keyed_groups")]
        strict = self.get_option("strict")
        inventory.set_variable("all", "p2p_hosts_file", cluster.source)
        for group in (*_providers.PROVIDERS, *FIXED_GROUPS):
            inventory.add_group(group)
        relays = frozenset(relay for host in cluster.hosts.values() for relay in host["relays"])
        group_names: dict[str, str] = {}
        for name, host in cluster.hosts.items():
            variables = {**connection_variables(cluster.hosts, name, address), **host_variables(host)}
            if STRINGS_ARE_TEMPLATES:
                variables = unsafe_proxy.wrap_var(variables)
            for group in groups_of(host, relays):
                if group not in group_names:
                    group_names[group] = inventory.add_group(self._sanitize_group_name(group))
                inventory.add_host(name, group=group_names[group])
            entity = inventory.hosts[name]
            for key, value in variables.items():
                # Straight to the host: a lookup by name would take a group of the same name for it.
                entity.set_variable(key, value)
            if any(constructed):
                self._construct(name, entity.get_vars(), constructed, strict)

    def _construct(self, name: str, variables: dict[str, t.Any], constructed: list[t.Any], strict: bool) -> None:
        compose, groups, keyed_groups = constructed
        try:
            self._set_composite_vars(compose, variables, name, strict=strict)
            self._add_host_to_composed_groups(groups, variables, name, strict=strict)
            self._add_host_to_keyed_groups(keyed_groups, variables, name, strict=strict)
        except AnsibleError as exc:
            raise AnsibleParserError(f"The constructed options cannot be applied: {to_native(exc)}") from exc
