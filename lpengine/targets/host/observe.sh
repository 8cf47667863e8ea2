# What a host shows, in one go. Arguments: a word that nothing here can know, and the
# root of the host ("" for the machine's own).
# Every answer is framed by the word, its name, and the status of what gave it.
set -u
word=$1 root=$2
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

answer() {
	name=$1
	shift
	printf '%s begin %s\n' "$word" "$name"
	"$@" </dev/null 2>/dev/null
	printf '\n%s end %s %s\n' "$word" "$name" "$?"
}

# Runs a program of the host, not of the machine that its root happens to be on.
tool() {
	program=$1
	shift
	for directory in "$root"/usr/local/sbin "$root"/usr/sbin "$root"/sbin \
		"$root"/usr/local/bin "$root"/usr/bin "$root"/bin \
		"$root"/opt/xensource/bin "$root"/usr/lib/xen-*/bin; do
		if [ -x "$directory/$program" ]; then
			timeout -k 1 60 "$directory/$program" "$@"
			return
		fi
	done
	return 127
}

# Whether a xenstore has run since the boot: guests need one.
xenstore() {
	for path in "$root/run/xenstored" "$root/var/run/xenstored" \
		"$root/run/xen/xenstored.pid"; do
		[ ! -e "$path" ] || return 0
	done
	return 1
}

# Without a xenstore xl would wait for one, and for ever.
xl() {
	xenstore || return 1
	tool xl "$@"
}

file() { answer "$1" lines "$root$2"; }

# Without a program: to start one takes long where page tables are the hypervisor's.
lines() {
	[ -r "$1" ] || return 1
	while IFS= read -r line || [ -n "$line" ]; do
		printf '%s\n' "$line"
	done <"$1"
}

bytes() { od -An -v -tx1 <"$1"; }

livepatches() {
	[ -d "$root/sys/kernel/livepatch" ] || return 127
	for patch in "$root"/sys/kernel/livepatch/*/; do
		[ -e "$patch/enabled" ] || continue
		enabled='' transition=0
		read -r enabled <"$patch/enabled"
		[ ! -r "$patch/transition" ] || read -r transition <"$patch/transition"
		patch=${patch%/}
		printf '%s %s %s\n' "${patch##*/}" "$enabled" "$transition"
	done
}

debian() {
	[ -e "$root/var/lib/dpkg/status" ] || return 127
	dpkg-query --admindir="$root/var/lib/dpkg" -W \
		-f '${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n'
}

redhat() {
	found=
	for directory in "$root"/var/lib/rpm "$root"/usr/lib/sysimage/rpm; do
		[ -d "$directory" ] && found=$directory
	done
	[ -n "$found" ] || return 127
	format='%{NAME}\t%{EPOCH}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n'
	if [ -n "$root" ] && [ ! -x "$root/usr/bin/rpm" ]; then
		timeout -k 1 60 rpm --dbpath "$found" -qa --queryformat "$format"
	else
		tool rpm -qa --queryformat "$format"
	fi
}

# What is in a directory, as ls says it.
names() {
	[ -d "$1" ] || return 1
	for each in "$1"/*; do
		[ ! -e "$each" ] || printf '%s\n' "${each##*/}"
	done
}

device_models() {
	names "$root/run/xen"
	names "$root/var/run/xen"
	:
}

applied_updates() { names "$root/var/update/applied"; }

reboot_required() { [ -e "$root/run/reboot-required" ]; }

file boot_id /proc/sys/kernel/random/boot_id
file release /proc/sys/kernel/osrelease
file os /etc/os-release
file inventory /etc/xensource-inventory
file hypervisor /sys/hypervisor/type
file domain_rights /proc/xen/capabilities
file xen_major /sys/hypervisor/version/major
file xen_minor /sys/hypervisor/version/minor
file xen_extra /sys/hypervisor/version/extra
answer xen_build_id bytes "$root/sys/hypervisor/properties/buildid"
answer xl_info xl info
answer xl_list xl list
answer xl_domains xl list -l
answer xen_livepatch tool xen-livepatch list
answer kernel_notes bytes "$root/sys/kernel/notes"
answer klp livepatches
answer kpatch tool kpatch list
answer dpkg debian
answer rpm redhat
answer disk stat -f -c '%a %S' "$root/"
answer device_models device_models
answer xenstore xenstore
answer applied_updates applied_updates
answer reboot_required reboot_required
file reboot_required_packages /run/reboot-required.pkgs
file reboot_required_updates /run/reboot-required.hfxs
