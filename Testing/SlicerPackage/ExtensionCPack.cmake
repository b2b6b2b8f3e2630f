# include(${Slicer_EXTENSION_CPACK}): nothing is packed here, but what packing would miss is reported.

foreach(variable IN ITEMS EXTENSION_README_FILE EXTENSION_LICENSE_FILE)
  if(NOT EXISTS "${${variable}}")
    message(FATAL_ERROR "${variable}: there is no such file beside the top CMakeLists.txt")
  endif()
endforeach()
