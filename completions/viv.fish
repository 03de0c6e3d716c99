# fish completion for viv(1). All knowledge is in viv itself; this asks it and shows the answer.

function __viv_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] 2>/dev/null)
        switch $line
            case :nospace
            case :files
                __fish_complete_path (commandline -ct)
            case :dirs
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $line
        end
    end
end

complete -c viv -f -a '(__viv_complete)'
