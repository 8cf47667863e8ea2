# What XAPI knows of the pool that a host belongs to, in one go. Arguments: a word
# that nothing here can know, the root of the host, then the updates to ask it about.
set -u
word=$1 root=$2
shift 2
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

answer() {
	name=$1
	shift
	printf '%s begin %s\n' "$word" "$name"
	"$@" </dev/null 2>&1
	printf '\n%s end %s %s\n' "$word" "$name" "$?"
}

xe() {
	for directory in "$root/opt/xensource/bin" "$root/usr/bin" "$root/bin"; do
		if [ -x "$directory/xe" ]; then
			timeout -k 1 60 "$directory/xe" "$@"
			return
		fi
	done
	return 127
}

answer pool xe pool-list params=all
answer hosts xe host-list params=all
answer guests xe vm-list is-a-snapshot=false params=uuid,name-label,power-state,is-control-domain,resident-on,affinity,domain-type,HVM-boot-policy,other-config,allowed-operations,pending-guidances,pending-guidances-recommended,pending-guidances-full
answer drives xe vbd-list params=uuid,vm-uuid,vdi-uuid,type,empty,currently-attached
answer disks xe vdi-list params=uuid,sr-uuid,is-tools-iso
answer storage xe sr-list params=uuid,name-label,shared,content-type
answer connections xe pbd-list params=uuid,host-uuid,sr-uuid,currently-attached
for host in $(xe host-list --minimal 2>/dev/null | tr ',' ' '); do
	answer "licence $host" xe host-license-view host-uuid="$host"
	answer "hindered $host" xe host-get-vms-which-prevent-evacuation uuid="$host"
	for update in "$@"; do
		[ "$(xe update-list uuid="$update" --minimal 2>/dev/null)" = "$update" ] || continue
		answer "precheck $host $update" xe update-precheck uuid="$update" host-uuid="$host"
	done
done
