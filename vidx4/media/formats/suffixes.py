"""Suffixes of video files."""

# fmt: off
VIDEO_SUFFIXES = frozenset({
    # Containers of today and yesterday
    ".3g2", ".3gp", ".3gp2", ".3gpp", ".amv", ".asf", ".avi", ".divx", ".f4p", ".f4v", ".flv", ".gif",
    ".ism", ".ismv", ".m4v", ".mj2", ".mk3d", ".mkv", ".mov", ".mp4", ".mp4v", ".mpg4", ".nut", ".ogg",
    ".ogm", ".ogv", ".ogx", ".qt", ".rm", ".rmvb", ".rv", ".webm", ".wm", ".wmv", ".xvid",
    # Discs, recorders and cameras
    ".cine", ".dat", ".dav", ".dif", ".dv", ".dvd", ".dvr-ms", ".evo", ".ifv", ".imx", ".ivr", ".lvf",
    ".m2p", ".m2t", ".m2ts", ".mod", ".mpe", ".mpeg", ".mpg", ".mpv2", ".mts", ".nsv", ".nuv",
    ".ps", ".pva", ".r3d", ".rec", ".ser", ".tod", ".tp", ".trp", ".ts", ".ty", ".ty+", ".viv", ".vob",
    ".vro", ".wtv",
    # Studios
    ".gxf", ".lxf", ".mxf", ".mxg", ".y4m",
    # Streams without a container
    ".264", ".265", ".266", ".apv", ".avc", ".avs", ".avs2", ".avs3", ".dirac", ".dnxhd", ".drc", ".evc",
    ".h261", ".h263", ".h264", ".h265", ".h266", ".h26l", ".hevc", ".ipu", ".ivf", ".m1v", ".m2v", ".mjpeg",
    ".mjpg", ".mpv", ".obu", ".rcv", ".vc1", ".vvc",
    # Games, consoles and animations
    ".apng", ".bik", ".bmv", ".c93", ".cdg", ".cdxl", ".cgi", ".cin", ".cpk", ".dxa", ".flc", ".fli",
    ".flm", ".kux", ".mods", ".moflex", ".mve", ".mvi", ".pdv", ".pmp", ".psp", ".rl2", ".roq", ".sga",
    ".smk", ".str", ".swf", ".thp", ".usm", ".v", ".vb", ".vmd", ".xl", ".xmv", ".yop",
})
"""Suffixes of files that FFmpeg reads as videos."""
SHARED_SUFFIXES = frozenset({
    ".avs", ".cgi", ".cin", ".dat", ".flm", ".ism", ".mod", ".mods", ".ogg", ".ps", ".rec", ".str", ".v",
    ".vb", ".xl",
})
"""Those of them that many other files have, too, such as scripts and sounds: the content decides."""
OTHER_SUFFIXES = frozenset({
    ".3ga", ".aax", ".f4a", ".f4b", ".heic", ".heif", ".isma", ".m4a", ".m4b", ".m4p", ".m4r", ".mka",
    ".mks", ".mp1", ".mp2", ".mp3", ".mpa", ".oga", ".opus", ".ra", ".spx", ".weba", ".wma",
})
"""Suffixes of sounds, pictures and subtitles whose content looks like that of a video."""
# fmt: on
