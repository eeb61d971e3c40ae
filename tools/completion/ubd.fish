# SPDX-License-Identifier: GPL-2.0-or-later
# fish completion for @PROGRAM@(1): what the bash completion knows.

function __@NAME@_complete
	set -l words (commandline -opc)
	set -l current (commandline -ct)
	set -l command ''
	set -l previous $words[-1]
	set -l option ''
	if test @PROGRAM@ = ubd-img; and test (count $words) -gt 1
		set command $words[2]
	end
	if string match -qr -- '^--[^=]+=' $current
		set option (string replace -r -- '=.*' '=' $current)
		set previous (string trim -rc = -- $option)
		set current (string replace -r -- '^[^=]*=' '' $current)
	end
	set -l candidates (bash -c '. "$0" 2>/dev/null; "$@"' @COMPLETIONS@/@PROGRAM@ \
		_@NAME@_candidates "$command" "$previous" "$current")
	if test $status -eq 0
		for candidate in (string split -n ' ' -- $candidates)
			printf '%s\n' $option(string trim -- $candidate)
		end
	else
		__fish_complete_path $current
	end
end

complete -c @PROGRAM@ -f -a '(__@NAME@_complete)'
