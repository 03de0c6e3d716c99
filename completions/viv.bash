# bash completion for viv(1). All knowledge is in viv itself; this asks it and shows the answer.

_viv()
{
    local line=${COMP_LINE:0:COMP_POINT} word prefix reply
    local -a words=()

    # bash splits at "=" and ":" too; viv wants words as a shell sees them.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[-1]}
    # What stands before the last "=" or ":" is already on the line for bash.
    prefix=
    case $COMP_WORDBREAKS in *=*) [[ $word == *=* ]] && prefix=${word%"${word##*=}"} ;; esac
    case $COMP_WORDBREAKS in
    *:*) [[ ${word#"$prefix"} == *:* ]] && prefix=${word%"${word##*:}"} ;;
    esac

    COMPREPLY=()
    while IFS= read -r reply; do
        case $reply in
        :nospace) compopt -o nospace ;;
        :files) compopt -o filenames; while IFS= read -r reply; do
                COMPREPLY+=("$reply")
            done < <(compgen -f -- "${word#"$prefix"}") ;;
        :dirs) compopt -o filenames; while IFS= read -r reply; do
                COMPREPLY+=("$reply")
            done < <(compgen -d -- "${word#"$prefix"}") ;;
        *) reply=${reply%%$'\t'*}; COMPREPLY+=("${reply#"$prefix"}") ;;
        esac
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    # A single candidate that is to be continued gets no space.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} != *[=.,] ]]; then
        compopt +o nospace
    fi
}

complete -F _viv viv
