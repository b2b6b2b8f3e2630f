# slicerMacroBuildScriptedModule and the macros that register tests.

# Copies the listed files into the build tree and installs them, sub-folders kept. Stops at a file that does not exist
# or that would land outside the folder of scripted modules.
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(_module "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(_module_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule does not know ${_module_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT _module_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule needs a NAME")
  endif()
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${_module_NAME}.py)
    message(FATAL_ERROR "the module ${_module_NAME} has no ${_module_NAME}.py")
  endif()

  set(_module_copies)
  set(_module_folder ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
  if(_module_WITH_SUBDIR)
    get_filename_component(_module_subdir ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    string(APPEND _module_folder /${_module_subdir})
  endif()

  foreach(_file IN LISTS _module_SCRIPTS _module_RESOURCES)
    # A script may be listed without its ending.
    if(_file IN_LIST _module_SCRIPTS AND NOT _file MATCHES "\\.py$")
      string(APPEND _file .py)
    endif()
    if(IS_ABSOLUTE ${_file} OR _file MATCHES "(^|/)\\.\\.(/|$)")
      message(FATAL_ERROR "${_module_NAME} lists ${_file}, which would not be installed: it is outside the module's folder")
    endif()
    set(_source ${CMAKE_CURRENT_SOURCE_DIR}/${_file})
    if(NOT EXISTS ${_source} OR IS_DIRECTORY ${_source})
      message(FATAL_ERROR "${_module_NAME} lists ${_file}, which does not exist")
    endif()
    set(_copy ${CMAKE_BINARY_DIR}/${_module_folder}/${_file})
    add_custom_command(
      OUTPUT ${_copy}
      COMMAND ${CMAKE_COMMAND} -E copy ${_source} ${_copy}
      DEPENDS ${_source}
      VERBATIM)
    list(APPEND _module_copies ${_copy})
    get_filename_component(_subfolder ${_file} DIRECTORY)
    install(FILES ${_source} DESTINATION ${_module_folder}/${_subfolder} COMPONENT Runtime)
  endforeach()
  add_custom_target(Copy${_module_NAME}Files ALL DEPENDS ${_module_copies})
endmacro()

# Tests run in Slicer; here it is only checked that their scripts exist.
function(slicer_add_python_unittest)
  cmake_parse_arguments(_test "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS;SCRIPT_ARGS" ${ARGN})
  get_filename_component(_script ${_test_SCRIPT} ABSOLUTE)
  if(NOT _test_SCRIPT OR NOT EXISTS ${_script})
    message(FATAL_ERROR "a test was registered for the script '${_test_SCRIPT}', which does not exist")
  endif()
endfunction()

function(slicer_add_python_test)
  slicer_add_python_unittest(${ARGN})
endfunction()
