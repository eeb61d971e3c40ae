# SPDX-License-Identifier: GPL-2.0-or-later
# Puts the seccomp profile $profile[0], in the form that container engines have it, into the config.json of an
# OCI bundle, as engines do: the calls of other processors, and those that are for
# capabilities which the container has not, are left out.

.process.capabilities.bounding as $caps
| def applies:
	(.includes.arches // ["amd64"] | any(. == "amd64"))
	and (.excludes.arches // [] | all(. != "amd64"))
	and (.includes.caps // []) - $caps == []
	and (.excludes.caps // []) - ((.excludes.caps // []) - $caps) == [];
.linux.seccomp = ($profile[0] | {
	defaultAction,
	defaultErrnoRet,
	architectures: [.archMap[] | select(.architecture == "SCMP_ARCH_X86_64") | .architecture, .subArchitectures[]],
	syscalls: [.syscalls[] | select(applies) | {names, action, args, errnoRet} | del(.[] | nulls)]
})
